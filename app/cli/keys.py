"""`postrider keys`: what an organisation's programs call with."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import click

from app.cli.audit import note
from app.cli.configured import settings_or_exit
from app.cli.operator import TypeId, transaction
from app.domain import ids, networks
from app.domain.api_key import ENVIRONMENTS, Environment
from app.domain.audit import Target
from app.domain.permissions import Permission, Role
from app.features.audit.targets import key_target
from app.features.organisations import operations, queries, rotation
from app.features.organisations.operations import NewKey
from app.features.organisations.rotation import DEFAULT_OVERLAP, LONGEST_OVERLAP
from app.kit.clock import utc_now
from app.kit.errors import Problem
from app.models import ApiKey, ApiKeySecret
from app.settings import Environment as Installation

_ORGANISATION = click.argument("organisation", type=TypeId("org"))


@click.group()
def keys() -> None:
    """Create, list, rotate and revoke the API keys of an organisation."""


def _networks(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(str(one) for one in networks.parse(values))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@keys.command()
@_ORGANISATION
@click.option("--name", default="", help="What the key is for.")
@click.option("--environment", type=click.Choice(ENVIRONMENTS), help="live in production unless said, test elsewhere.")
@click.option("--role", type=click.Choice(Role), default=Role.owner, show_default=True, help="What it may do.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(Permission), help="Of that only this; repeatable.")
@click.option("--allow", multiple=True, callback=_networks, help="Only from this network; repeatable.")
@click.option("--deny", multiple=True, callback=_networks, help="Not from this network; repeatable.")
@click.option("--days", type=click.IntRange(min=1), help="Days until it ends by itself; never when left out.")
@click.option("--signs", is_flag=True, help="It signs requests, and is never sent.")
def create(  # noqa: PLR0913 each is an option
    *,
    organisation: UUID,
    name: str,
    environment: Environment | None,
    role: Role,
    scopes: tuple[Permission, ...],
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    days: int | None,
    signs: bool,
) -> None:
    """Add a key and print it: it is shown this once."""
    new = NewKey(
        name,
        environment or key_environment(),
        role,
        scopes or None,
        allow,
        deny,
        utc_now() + timedelta(days=days) if days else None,
        settings_or_exit().secrets.ring() if signs else None,
    )
    with transaction() as db:
        try:
            key, text = operations.create_key(db, organisation, new)
            note(db, organisation, "key.created", key_target(key), role=role, environment=new.environment)
        except LookupError as error:
            raise click.ClickException(str(error)) from error
    if signs:
        click.echo(ids.encode("key", key.id))
    click.echo(text)


@keys.command(name="list")
@_ORGANISATION
def list_(organisation: UUID) -> None:
    """Print the keys: id, last characters of each secret, environment, role, state and name."""
    with transaction() as db:
        found = db.scalars(queries.keys(organisation).order_by(ApiKey.id)).all()
        kinds = {one.id: one.kind for one in db.scalars(queries.environments(organisation))}
        hints = _hints(db.scalars(queries.secrets(organisation, [one.id for one in found])).all())
    for key in found:
        state = _state(key, utc_now())
        shown = " ".join(hints.get(key.id, []))
        click.echo(
            f"{ids.encode('key', key.id)}\t{shown}\t{kinds[key.environment_id]}\t{key.role}\t{state}\t{key.name}"
        )


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


@keys.command()
@_ORGANISATION
@click.argument("key", type=TypeId("key"))
@click.option(
    "--overlap-seconds",
    type=click.IntRange(0, LONGEST_OVERLAP),
    default=DEFAULT_OVERLAP,
    show_default=True,
    help="For how long the secret so far stays good.",
)
def rotate(organisation: UUID, key: UUID, overlap_seconds: int) -> None:
    """Give a key a new secret and print it: it is shown this once."""
    overlap, ring = timedelta(seconds=overlap_seconds), settings_or_exit().secrets.ring()
    with transaction() as db:
        try:
            found = rotation.find(db, organisation, key, lock=True)
            text = rotation.rotate(db, found, overlap, ring)
            note(db, organisation, "key.rotated", key_target(found.key), overlap_seconds=overlap_seconds)
        except Problem as problem:
            raise click.ClickException(problem.detail) from problem
    click.echo(text)


def key_environment() -> Environment:
    """The environment of keys for which none is said."""
    return "live" if settings_or_exit().environment is Installation.production else "test"


def _hints(secrets: Sequence[ApiKeySecret]) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = {}
    for one in secrets:
        found.setdefault(one.key_id, []).append(f"…{one.hint}")
    return found


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= now else "good"
