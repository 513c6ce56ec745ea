"""`postrider clients`: the programs that ask for OAuth tokens."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from app.cli.audit import note
from app.cli.keys import key_environment
from app.cli.operator import TypeId, transaction
from app.domain import ids, redirects
from app.domain.api_key import ENVIRONMENTS, Environment
from app.domain.permissions import Role
from app.domain.scopes import WORDS
from app.features.oauth import clients as operations
from app.features.oauth import queries
from app.features.oauth.client_keys import key_set
from app.features.oauth.clients import (
    DEFAULT_OVERLAP,
    LONGEST_OVERLAP,
    AuthMethod,
    GrantType,
    NewClient,
    client_target,
)
from app.features.oauth.errors import CLIENT
from app.kit.errors import Problem
from app.models import OAuthClient

_ORGANISATION = click.argument("organisation", type=TypeId("org"))
_CLIENT = click.argument("client", type=TypeId(CLIENT))
_SCOPE = click.Choice(sorted(map(str, WORDS)))
UNKNOWN = "there is no such client, or it was deleted before"


@click.group()
def clients() -> None:
    """Create, list, rotate and delete the OAuth clients of an organisation."""


def _uris(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for one in values:
        wrong = redirects.fault(one)
        if wrong is not None:
            raise click.BadParameter(f"{one} {wrong}")
    return values


def _keys(_context: click.Context, _option: click.Parameter, value: Path | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        document: dict[str, Any] = json.loads(value.read_text())
        key_set(document)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{value}: {error}") from error
    return document


@clients.command()
@_ORGANISATION
@click.option("--name", required=True, help="What people see when they are asked.")
@click.option("--environment", type=click.Choice(ENVIRONMENTS), help="live in production unless said, test elsewhere.")
@click.option("--auth-method", type=click.Choice(AuthMethod), default=AuthMethod.client_secret_basic, show_default=True)
@click.option(
    "--grant",
    "grant_types",
    multiple=True,
    type=click.Choice(GrantType),
    default=(GrantType.authorization_code, GrantType.refresh_token),
    show_default=True,
    help="For what it is given tokens; repeatable.",
)
@click.option("--scope", "scopes", multiple=True, required=True, type=_SCOPE, help="Repeatable.")
@click.option("--redirect-uri", "redirect_uris", multiple=True, callback=_uris, help="Repeatable.")
@click.option("--post-logout-redirect-uri", "post_logout_redirect_uris", multiple=True, callback=_uris)
@click.option("--backchannel-logout-uri", help="Where it hears of logouts.")
@click.option("--role", type=click.Choice(Role), default=Role.viewer, show_default=True, help="In its own name.")
@click.option("--jwks", type=click.Path(path_type=Path), callback=_keys, help="A file with its public keys.")
@click.option("--first-party", is_flag=True, help="Nobody is asked for consent.")
def create(*, organisation: UUID, environment: Environment | None, **columns: Any) -> None:  # noqa: ANN401 as the options say
    """Add a client; print its id, and its secret if it has one: that is shown this once."""
    wrong = operations.fault(columns)
    if wrong is not None:
        raise click.UsageError(f"{wrong[0]}: {wrong[1]}")
    new = NewClient(environment=environment or key_environment(), **columns)
    with transaction() as db:
        try:
            made, secret = operations.create(db, organisation, new)
        except LookupError as error:
            raise click.ClickException(str(error)) from error
        note(db, organisation, "oauth.client_created", client_target(made), first_party=made.first_party)
    click.echo(ids.encode(CLIENT, made.id))
    if secret is not None:
        click.echo(secret)


@clients.command(name="list")
@_ORGANISATION
def list_(organisation: UUID) -> None:
    """Print the clients: id, environment, how they prove who they are, grants, and name."""
    with transaction() as db:
        found = db.execute(queries.clients(organisation).order_by(OAuthClient.id)).all()
    for one, kind in found:
        grants = " ".join(one.grant_types)
        click.echo(f"{ids.encode(CLIENT, one.id)}\t{kind}\t{one.auth_method}\t{grants}\t{one.name}")


@clients.command()
@_ORGANISATION
@_CLIENT
@click.option(
    "--overlap-seconds",
    type=click.IntRange(0, LONGEST_OVERLAP),
    default=DEFAULT_OVERLAP,
    show_default=True,
    help="For how long the secret so far stays good.",
)
def rotate(organisation: UUID, client: UUID, overlap_seconds: int) -> None:
    """Give a client a new secret and print it: it is shown this once."""
    with transaction() as db:
        row = db.execute(queries.named(organisation, client, lock=True)).one_or_none()
        if row is None:
            raise click.ClickException(UNKNOWN)
        try:
            text = operations.rotate(db, row[0], timedelta(seconds=overlap_seconds))
        except Problem as problem:
            raise click.ClickException(problem.detail) from problem
        note(db, organisation, "oauth.client_rotated", client_target(row[0]), overlap_seconds=overlap_seconds)
    click.echo(text)


@clients.command()
@_ORGANISATION
@_CLIENT
def delete(organisation: UUID, client: UUID) -> None:
    """Delete a client; its secrets and tokens are refused from now on."""
    with transaction() as db:
        row = db.execute(queries.named(organisation, client)).one_or_none()
        if row is None or not operations.delete(db, organisation, client):
            raise click.ClickException(UNKNOWN)
        note(db, organisation, "oauth.client_deleted", client_target(row[0]))
