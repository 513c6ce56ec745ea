"""The turning of signing keys as Celery runs it."""

import logging

from sqlalchemy.orm import Session, sessionmaker

from app.domain.audit import Actor
from app.features.oauth import keys
from app.kit.encryption import KeyRing

WORKER = Actor("worker")
logger = logging.getLogger(__name__)


def turn_keys(sessions: sessionmaker[Session], ring: KeyRing) -> None:
    """Makes keys that are missing, turns those that are old, forgets those that are over."""
    with sessions.begin() as db:
        wanted = {*keys.missing(db), *keys.due(db)}
    made = keys.fresh(wanted)
    with sessions.begin() as db:
        taken = keys.turn(db, ring, made, WORKER)
    if taken:
        logger.info("signing keys: made %s", ", ".join(one.id.hex for one in taken))
