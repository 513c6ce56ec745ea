"""`postrider users`: people, their first owner, and whether they may sign in."""

from collections.abc import Callable
from uuid import UUID

import click
from sqlalchemy.orm import Session

from app.cli.audit import note, operator
from app.cli.configured import settings_or_exit
from app.cli.operator import TypeId, transaction
from app.domain import email, ids
from app.domain.audit import SYSTEM
from app.features.audit.targets import user_target
from app.features.members.arrivals import first_link
from app.features.organisations import queries as organisations
from app.features.people import lifecycle, lifecycle_queries, operations, queries
from app.features.people.lifecycle import LastOwnerError
from app.features.sessions import impersonation
from app.features.sessions import operations as sessions
from app.models import User


@click.group()
def users() -> None:
    """Make the first owner of an organisation, list people, lock them out, forget them."""


@users.command()
@click.argument("organisation", type=TypeId("org"))
@click.argument("address")
def owner(organisation: UUID, address: str) -> None:
    """Make whoever has ADDRESS an owner. Prints a link, good once within 24 hours, where a password is chosen.

    Who can sign in already gets none. Each link voids the one before.
    """
    url = settings_or_exit().public_url
    with transaction() as db:
        user = make_owner(db, organisation, address)
        link = first_link(db, user, url)
    click.echo(link or f"{user.email} can sign in already")


def make_owner(db: Session, organisation_id: UUID, address: str) -> User:
    """The person of this address, who is an owner from now on; one line for what cannot be."""
    if db.execute(organisations.organisation(organisation_id)).first() is None:
        raise click.ClickException("there is no such organisation")
    try:
        made = operations.create_owner(db, organisation_id, address)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    note(db, organisation_id, "member.added", user_target(made), role="owner")
    return made


@users.command(name="list")
@click.argument("organisation", type=TypeId("org"), required=False)
def list_(organisation: UUID | None) -> None:
    """Print people: id, address, whether they may sign in, and their role in each organisation."""
    with transaction() as db:
        for one in db.scalars(lifecycle_queries.people(organisation)).all():
            roles = [f"{ids.encode('org', at)}={role}" for at, role in db.execute(lifecycle_queries.roles(one.id))]
            state = "active" if one.disabled_at is None else "disabled"
            click.echo("\t".join([ids.encode("user", one.id), one.email, state, ", ".join(roles)]))


@users.command()
@click.argument("person")
def disable(person: str) -> None:
    """Lock out a person (user_… or an address): sessions, tokens and the API keys it made end at once."""
    _act(person, lifecycle.disable, "user.disabled")


@users.command()
@click.argument("person")
def enable(person: str) -> None:
    """Let a person sign in again; sessions, tokens and API keys that were ended stay so."""
    _act(person, lifecycle.enable, "user.enabled")


@users.command()
@click.argument("person")
def delete(person: str) -> None:
    """Forget a person with password, factors, sessions, tokens, memberships and the API keys it made, for good."""
    _act(person, _delete, "user.deleted")


@users.command()
@click.argument("person")
@click.option("--reason", required=True, help="Why; the person's organisations read it.")
@click.option("--minutes", type=click.IntRange(1, 60), default=15, show_default=True, help="For how long.")
def impersonate(person: str, reason: str, minutes: int) -> None:
    """Print a link, good once within ten minutes, that opens a session as PERSON.

    Whoever uses it sees a banner, and cannot change how the person signs in. The link and its use are in the audit logs
    of the person's organisations and of the operator.
    """
    if not reason.strip():
        raise click.UsageError("--reason: say why")
    url = settings_or_exit().public_url.rstrip("/")
    with transaction() as db:
        offered = impersonation.Offer(_find(db, person), operator().label, reason.strip(), minutes)
        if offered.user.disabled_at is not None:
            raise click.ClickException(f"{offered.user.email} is disabled")
        link = f"{url}/sign-in/impersonation?token={impersonation.offer(db, offered)}"
    click.echo(link)


@users.command("end-sessions")
@click.argument("person", required=False)
@click.option("--all", "everybody", is_flag=True, help="Of all people, your own included.")
def end_sessions(person: str | None, *, everybody: bool) -> None:
    """End every session of PERSON, or of everybody. Prints how many."""
    if (person is None) != everybody:
        raise click.UsageError("give either a person or --all")
    with transaction() as db:
        found = db.scalars(lifecycle_queries.people(None)).all() if person is None else [_find(db, person)]
        click.echo(sum(_end_sessions(db, one) for one in found))


def _end_sessions(db: Session, user: User) -> int:
    belongs = [row.organisation_id for row in db.execute(lifecycle_queries.roles(user.id))]
    ended = sessions.end_all(db, user.id, "ended by the operator")
    if ended:
        for one in belongs or [SYSTEM]:
            note(db, one, "session.all_ended", user_target(user), count=ended)
    return ended


def _delete(db: Session, user: User) -> bool:
    try:
        lifecycle.delete(db, user)
    except LastOwnerError as error:
        alone = ", ".join(ids.encode("org", one) for one in error.organisation_ids)
        raise click.ClickException(f"it is the last owner of {alone}; make somebody else an owner first") from error
    return True


def _act(person: str, operation: Callable[[Session, User], bool], action: str) -> None:
    with transaction() as db:
        user = _find(db, person)
        target = user_target(user)
        belongs = [row.organisation_id for row in db.execute(lifecycle_queries.roles(user.id))]
        if operation(db, user):
            for one in belongs or [SYSTEM]:
                note(db, one, action, target)


def _find(db: Session, person: str) -> User:
    user_id = ids.decode("user", person)
    key = email.key(person)
    if user_id is None and key is not None:
        user_id = db.scalar(queries.find_user(key))
    found = None if user_id is None else db.scalars(queries.user(user_id)).one_or_none()
    if found is None:
        raise click.ClickException(f"nobody is known by {person!r}")
    return found
