"""`postrider keys`: what an organisation's programs call with."""

from datetime import datetime, timedelta
from uuid import UUID

import click
from sqlalchemy.orm import Session

from app.cli.audit import note
from app.cli.operator import TypeId, settings_or_exit, transaction
from app.domain import api_key, ids
from app.domain.api_key import Environment
from app.domain.audit import Target
from app.features.audit.targets import key_target
from app.features.organisations import operations, queries
from app.kit.clock import utc_now
from app.models import ApiKey
from app.settings import Environment as Installation

_ORGANISATION = click.argument("organisation", type=TypeId("org"))


@click.group()
def keys() -> None:
    """Create, list and revoke the API keys of an organisation."""


@keys.command()
@_ORGANISATION
@click.option("--name", default="", help="What the key is for.")
@click.option("--days", type=click.IntRange(min=1), help="Days until it ends by itself; never when left out.")
def create(organisation: UUID, name: str, days: int | None) -> None:
    """Add a key and print it: it is shown this once."""
    expires_at = utc_now() + timedelta(days=days) if days else None
    with transaction() as db:
        try:
            text = operations.create_key(db, organisation, name, key_environment(), expires_at)
            note(db, organisation, "key.created", _target_of(db, organisation, text), expires_at=expires_at)
        except LookupError as error:
            raise click.ClickException(str(error)) from error
    click.echo(text)


@keys.command(name="list")
@_ORGANISATION
def list_(organisation: UUID) -> None:
    """Print the keys: id, last characters, state and name."""
    with transaction() as db:
        found = db.scalars(queries.keys(organisation)).all()
    for key in found:
        click.echo(f"{ids.encode('key', key.id)}\t…{key.hint}\t{_state(key, utc_now())}\t{key.name}")


@keys.command()
@_ORGANISATION
@click.argument("key", type=TypeId("key"))
def revoke(organisation: UUID, key: UUID) -> None:
    """End a key; it is refused within a second."""
    with transaction() as db:
        revoked = operations.revoke_key(db, organisation, key)
        if revoked:
            note(db, organisation, "key.revoked", Target("key", ids.encode("key", key)))
    if not revoked:
        raise click.ClickException("there is no such key, or it was revoked before")


def _target_of(db: Session, organisation_id: UUID, text: str) -> Target:
    digest = api_key.digest(text)
    return key_target(next(one for one in db.scalars(queries.keys(organisation_id)) if one.digest == digest))


def key_environment() -> Environment:
    """Keys of a production installation say so."""
    return "live" if settings_or_exit().environment is Installation.production else "test"


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= now else "good"
