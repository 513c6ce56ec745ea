"""`postrider orgs`: organisations, each with its environments."""

from collections.abc import Callable
from uuid import UUID

import click
from sqlalchemy.orm import Session

from app.cli.audit import note
from app.cli.operator import TypeId, transaction
from app.domain import ids
from app.domain.api_key import ENVIRONMENTS, Environment
from app.domain.lifecycle import restorable_until
from app.features.audit.targets import organisation_target
from app.features.organisations import operations, queries
from app.models import Organisation

UNLIMITED, MOST_DIGITS = "unlimited", 18


def _quota(text: str) -> int | None:
    if text == UNLIMITED:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise click.UsageError(f"{text!r} is neither a number of at most {MOST_DIGITS} digits nor {UNLIMITED}")
    return int(text)


@click.group()
def orgs() -> None:
    """Create, list, suspend and delete organisations, and set their policies, retries and quotas."""


@orgs.command()
@click.argument("name")
def create(name: str) -> None:
    """Add an organisation and print its id."""
    with transaction() as db:
        created = operations.create_organisation(db, name)
        note(db, created, "organisation.created", organisation_target(created, name))
    click.echo(ids.encode("org", created))


@orgs.command(name="list")
def list_() -> None:
    """Print every organisation: its id, its name, and whether it is active, suspended or deleted."""
    with transaction() as db:
        rows = db.scalars(queries.every_organisation()).all()
    for row in rows:
        click.echo(f"{ids.encode('org', row.id)}\t{row.name}\t{_state(row)}")


def _state(row: Organisation) -> str:
    if row.deleted_at is not None:
        return f"deleted, restorable until {restorable_until(row.deleted_at):%Y-%m-%d %H:%M}"
    return "active" if row.suspended_at is None else "suspended"


@orgs.command()
@click.argument("organisation", type=TypeId("org"))
def delete(organisation: UUID) -> None:
    """Delete an organisation and cancel what it is owed; it can be restored for 30 days, then it is gone."""
    _act(operations.delete_organisation, organisation, "organisation.deleted")


@orgs.command()
@click.argument("organisation", type=TypeId("org"))
def restore(organisation: UUID) -> None:
    """Bring back a deleted organisation with all that it had; what was cancelled stays cancelled."""
    _act(operations.restore_organisation, organisation, "organisation.restored")


@orgs.command()
@click.argument("organisation", type=TypeId("org"))
def suspend(organisation: UUID) -> None:
    """Refuse an organisation's keys and portal tokens, and let its deliveries wait."""
    _act(operations.suspend_organisation, organisation, "organisation.suspended")


@orgs.command()
@click.argument("organisation", type=TypeId("org"))
def resume(organisation: UUID) -> None:
    """End a suspension; what waited is delivered."""
    _act(operations.resume_organisation, organisation, "organisation.resumed")


def _act(operation: Callable[[Session, UUID], None], organisation: UUID, action: str) -> None:
    with transaction() as db:
        try:
            operation(db, organisation)
        except LookupError as error:
            raise click.ClickException(str(error)) from error
        note(db, organisation, action, organisation_target(organisation))


@orgs.command()
@click.argument("organisation", type=TypeId("org"))
@click.option("--key-days", type=click.IntRange(1, operations.MOST_KEY_DAYS), help="For how long a secret is good.")
@click.option("--no-key-days", is_flag=True, help="Secrets are good until they are ended.")
def policy(organisation: UUID, key_days: int | None, *, no_key_days: bool) -> None:
    """Set for how many days a secret of a key is good; older ones end at once."""
    if (key_days is None) != no_key_days:
        raise click.UsageError("give one of --key-days and --no-key-days")
    with transaction() as db:
        try:
            operations.set_key_days(db, organisation, key_days)
            note(db, organisation, "organisation.changed", organisation_target(organisation), key_days=key_days)
        except LookupError as error:
            raise click.ClickException(str(error)) from error


@orgs.command("retry-schedule")
@click.argument("organisation", type=TypeId("org"))
@click.argument("seconds", type=int, nargs=-1)
@click.option("--environment", type=click.Choice(ENVIRONMENTS), help="Of this environment only.")
def retry_schedule(organisation: UUID, seconds: tuple[int, ...], environment: Environment | None) -> None:
    """Set the seconds before each try, the first included; none for the default.

    An endpoint's own schedule wins over this one, and so does an event type's.
    """
    with transaction() as db:
        try:
            operations.set_retry_schedule(db, organisation, seconds, [environment] if environment else ENVIRONMENTS)
            note(db, organisation, "organisation.retries_changed", organisation_target(organisation), seconds=seconds)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        except LookupError as error:
            raise click.ClickException(str(error)) from error


@orgs.command()
@click.argument("organisation", type=TypeId("org"))
@click.argument("events", required=False)
def quota(organisation: UUID, events: str | None) -> None:
    """Set how many events are accepted in a month (UTC): a number, or `unlimited`. Prints it and what was used.

    Processes hold to it a second later.
    """
    with transaction() as db:
        try:
            if events is not None:
                operations.set_quota(db, organisation, _quota(events))
            allowed, used = operations.usage(db, organisation)
        except LookupError as error:
            raise click.ClickException(str(error)) from error
    click.echo(f"{UNLIMITED if allowed is None else allowed} a month, {used} used in this one")
