"""What a person has allowed clients, to look at and to take back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import Where
from app.domain.ids import encode
from app.domain.scopes import WORDS
from app.features.oauth import families, queries
from app.features.oauth.errors import CLIENT
from app.features.people import queries as people
from app.features.people.journal import enter_organisations, note
from app.kit.errors import not_found, unauthenticated


@dataclass(frozen=True, slots=True)
class Application:
    """A client that a person has allowed something; `tokens` are the grants that are in force."""

    id: str
    name: str
    organisation: str
    scopes: Sequence[tuple[str, str]]
    since: datetime
    tokens: int


def of(db: Session, user_id: UUID) -> list[Application]:
    """The clients that the person has allowed something; the transaction names the person."""
    enter_organisations(db, user_id)
    live = db.scalars(queries.live_families(user_id)).all()
    return [
        Application(
            encode(CLIENT, client.id),
            client.name,
            organisation,
            [(one, WORDS[one]) for one in consent.scopes],
            consent.created_at,
            sum(one.client_id == client.id for one in live),
        )
        for consent, client, organisation in db.execute(queries.consents(user_id))
    ]


def withdraw(db: Session, user_id: UUID, client_id: UUID, where: Where) -> None:
    """Takes back what the person allowed a client, and ends all its tokens. Raises `not_found`."""
    organisations = enter_organisations(db, user_id)
    user = db.scalars(people.user(user_id)).one_or_none()
    if user is None:
        raise unauthenticated()
    live = db.scalars(queries.live_families(user_id, client_id)).all()
    for one in live:
        families.revoke(db, one, "withdrawn", where=where)
    if not db.scalars(queries.withdraw(user_id, client_id)).all() and not live:
        raise not_found("Application")
    note(db, user, "oauth.consent_withdrawn", where, organisations, client=encode(CLIENT, client_id))
