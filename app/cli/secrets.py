"""`postrider secrets`: what is encrypted at rest, and the key ring that encrypts it."""

import base64
import os
from typing import Any

import click
from sqlalchemy.orm import Session, sessionmaker

from app.cli.audit import note
from app.cli.configured import settings_or_exit
from app.cli.operator import in_one_line
from app.domain.audit import SYSTEM, Outcome, Target
from app.features.key_ring.rotation import rotate as rotate_rows
from app.kit.db import make_engine, make_sessions
from app.kit.encryption import Undecryptable

KEY_BYTES = 32


@click.group()
def secrets() -> None:
    """Turn the key ring that encrypts secrets at rest."""


@secrets.command("new-key")
def new_key() -> None:
    """Print a new key for POSTRIDER_SECRETS__KEYS: base64 of 32 random bytes."""
    click.echo(base64.b64encode(os.urandom(KEY_BYTES)).decode())


@secrets.command()
def rotate() -> None:
    """Bring every secret under the active key, in batches, while everything serves.

    First add the new key to POSTRIDER_SECRETS__KEYS in every process, then make it POSTRIDER_SECRETS__ACTIVE, then
    run this. Keep the old key for 28 days: portal links and stored answers made under it end with it.
    """
    settings = settings_or_exit()
    with in_one_line():
        engine = make_engine(settings.database.worker(), pool_size=1, name="postrider-secrets")
        sessions = make_sessions(engine)
        try:
            done = rotate_rows(sessions, settings.secrets.ring(), _tell)
            _note(sessions, Outcome.success, settings.secrets.active, count=done)
        except Undecryptable as error:
            _note(sessions, Outcome.failed, settings.secrets.active, error=str(error))
            raise click.ClickException(str(error)) from error
        finally:
            engine.dispose()
    click.echo(f"{done} now lie under key {settings.secrets.active}; nothing lies under another one")


def _note(sessions: sessionmaker[Session], outcome: Outcome, key_id: str, **details: Any) -> None:  # noqa: ANN401 whatever JSON says
    with sessions.begin() as db:
        note(db, SYSTEM, "secrets.rotated", Target("encryption_key", key_id), outcome=outcome, **details)


def _tell(done: int) -> None:
    click.echo(f"{done} re-encrypted", err=True)
