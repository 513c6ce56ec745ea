"""`postrider orgs`: organisations, each with its environments."""

from uuid import UUID

import click

from app.cli.operator import TypeId, transaction
from app.domain import ids
from app.domain.api_key import ENVIRONMENTS, Environment
from app.features.organisations import operations, queries


@click.group()
def orgs() -> None:
    """Create and list organisations, and set their policies and retries."""


@orgs.command()
@click.argument("name")
def create(name: str) -> None:
    """Add an organisation and print its id."""
    with transaction() as db:
        created = operations.create_organisation(db, name)
    click.echo(ids.encode("org", created))


@orgs.command(name="list")
def list_() -> None:
    """Print every organisation: its id and its name."""
    with transaction() as db:
        rows = db.execute(queries.organisations()).all()
    for environment_id, name in rows:
        click.echo(f"{ids.encode('org', environment_id)}\t{name}")


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
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        except LookupError as error:
            raise click.ClickException(str(error)) from error
