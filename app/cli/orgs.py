"""`postrider orgs`: the tenants."""

import click

from app.cli.operator import transaction
from app.domain import ids
from app.features.organisations import operations, queries


@click.group()
def orgs() -> None:
    """Create and list organisations."""


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
    for organisation_id, name in rows:
        click.echo(f"{ids.encode('org', organisation_id)}\t{name}")
