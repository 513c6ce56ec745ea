"""`postrider orgs`: the tenants."""

from uuid import UUID

import click

from app.cli.audit import note
from app.cli.operator import TypeId, transaction
from app.domain import ids
from app.features.audit.targets import organisation_target
from app.features.organisations import operations, queries


@click.group()
def orgs() -> None:
    """Create and list organisations, and set their retries."""


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
    """Print every organisation: its id and its name."""
    with transaction() as db:
        rows = db.execute(queries.organisations()).all()
    for organisation_id, name in rows:
        click.echo(f"{ids.encode('org', organisation_id)}\t{name}")


@orgs.command("retry-schedule")
@click.argument("organisation", type=TypeId("org"))
@click.argument("seconds", type=int, nargs=-1)
def retry_schedule(organisation: UUID, seconds: tuple[int, ...]) -> None:
    """Set the seconds before each try, the first included; none for the default.

    An endpoint's own schedule wins over this one, and so does an event type's.
    """
    with transaction() as db:
        try:
            operations.set_retry_schedule(db, organisation, seconds)
            note(db, organisation, "organisation.retries_changed", organisation_target(organisation), seconds=seconds)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        except LookupError as error:
            raise click.ClickException(str(error)) from error
