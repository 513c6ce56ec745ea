"""The turning of signing keys as Celery runs it."""

from sqlalchemy.orm import Session, sessionmaker

from app.domain.audit import Actor
from app.features.oauth import keys
from app.kit.encryption import KeyRing
from app.kit.telemetry.logs import get_logger

WORKER = Actor("worker")
logger = get_logger(__name__)


def turn_keys(sessions: sessionmaker[Session], ring: KeyRing) -> None:
    """Makes keys that are missing, turns those that are old, forgets those that are over."""
    with sessions.begin() as db:
        wanted = {*keys.missing(db), *keys.due(db)}
    made = keys.fresh(wanted)
    with sessions.begin() as db:
        taken = keys.turn(db, ring, made, WORKER)
    if taken:
        logger.info("signing_keys_made", key_ids=[one.id.hex for one in taken])
