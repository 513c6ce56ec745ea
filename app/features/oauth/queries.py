"""Statements about OAuth clients, and about what they were given."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Delete, Insert, Select, Update, Uuid, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningDelete
from sqlalchemy.sql.expression import column

from app.models import (
    Environment,
    OAuthClient,
    OAuthClientSecret,
    OAuthCode,
    OAuthConsent,
    OAuthFamily,
    OAuthRefreshToken,
    Organisation,
    RevokedToken,
    UsedTicket,
)


def owner_of(client_id: UUID) -> Select[UUID | None]:
    """Whose client it is, whoever asks; None when there is none in force."""
    return select(func.find_oauth_client(client_id))


def clients(organisation_id: UUID) -> Select[OAuthClient, str]:
    """The clients with the kinds of their environments, in no order."""
    return (
        select(OAuthClient, Environment.kind)
        .join(Environment, Environment.id == OAuthClient.environment_id)
        .where(OAuthClient.organisation_id == organisation_id, OAuthClient.deleted_at.is_(None))
    )


def named(organisation_id: UUID, client_id: UUID, *, lock: bool = False) -> Select[OAuthClient, str]:
    """One of them; locked, nobody else gives it secrets until the transaction ends."""
    statement = clients(organisation_id).where(OAuthClient.id == client_id)
    return statement.with_for_update(of=OAuthClient) if lock else statement


def client(organisation_id: UUID, client_id: UUID) -> Select[OAuthClient]:
    """One client."""
    return select(OAuthClient).where(
        OAuthClient.organisation_id == organisation_id,
        OAuthClient.id == client_id,
        OAuthClient.deleted_at.is_(None),
    )


def secrets(organisation_id: UUID, client_ids: Sequence[UUID]) -> Select[OAuthClientSecret]:
    """The secrets of clients that are in force, the newest first."""
    return (
        select(OAuthClientSecret)
        .where(
            OAuthClientSecret.organisation_id == organisation_id,
            OAuthClientSecret.client_id.in_(client_ids),
            or_(OAuthClientSecret.expires_at.is_(None), OAuthClientSecret.expires_at > func.now()),
        )
        .order_by(OAuthClientSecret.id.desc())
    )


def drop_ended(organisation_id: UUID, client_id: UUID) -> Delete:
    """Forgets the secrets of a client that have ended."""
    return delete(OAuthClientSecret).where(
        OAuthClientSecret.organisation_id == organisation_id,
        OAuthClientSecret.client_id == client_id,
        OAuthClientSecret.expires_at <= func.now(),
    )


def end(organisation_id: UUID, client_id: UUID) -> Update:
    """Deletes a client; its id comes back, unless that was done before."""
    return (
        update(OAuthClient)
        .where(
            OAuthClient.organisation_id == organisation_id,
            OAuthClient.id == client_id,
            OAuthClient.deleted_at.is_(None),
        )
        .values(deleted_at=func.now(), version=OAuthClient.version + 1)
        .returning(OAuthClient.id)
    )


def in_force(organisation_id: UUID, family_id: UUID, token_id: str) -> Select[UUID]:
    """A row when the family is in force, with whom it is for, and the access token of this id is not revoked."""
    found = func.find_access_token(organisation_id, family_id, token_id).table_valued(column("client_id", Uuid))
    return select(found.c.client_id)


def locked_code(organisation_id: UUID, code_id: UUID) -> Select[OAuthCode]:
    """A code, kept from everybody else until the transaction ends."""
    return (
        select(OAuthCode).where(OAuthCode.organisation_id == organisation_id, OAuthCode.id == code_id).with_for_update()
    )


def locked_family(organisation_id: UUID, family_id: UUID) -> Select[OAuthFamily]:
    """A family, kept from everybody else until the transaction ends."""
    return (
        select(OAuthFamily)
        .where(OAuthFamily.organisation_id == organisation_id, OAuthFamily.id == family_id)
        .with_for_update()
    )


def refresh_token(organisation_id: UUID, family_id: UUID, digest: bytes) -> Select[OAuthRefreshToken]:
    """A refresh token of a family."""
    return select(OAuthRefreshToken).where(
        OAuthRefreshToken.organisation_id == organisation_id,
        OAuthRefreshToken.family_id == family_id,
        OAuthRefreshToken.digest == digest,
    )


def used_children(token: OAuthRefreshToken) -> Select[UUID]:
    """The refresh tokens that came of this one, and were used."""
    return select(OAuthRefreshToken.id).where(
        OAuthRefreshToken.organisation_id == token.organisation_id,
        OAuthRefreshToken.family_id == token.family_id,
        OAuthRefreshToken.parent_id == token.id,
        OAuthRefreshToken.used_at.is_not(None),
    )


def revoke_token(organisation_id: UUID, token_id: str, expires_at: datetime) -> Insert:
    """Ends an access token before its time."""
    values = {"organisation_id": organisation_id, "token_id": token_id, "expires_at": expires_at}
    return insert(RevokedToken).values(**values).on_conflict_do_nothing()


def use_ticket(owner_id: UUID, ticket_id: UUID, expires_at: datetime) -> Insert:
    """Uses something that is good once; no row comes back when it was used before."""
    values = {"owner_id": owner_id, "ticket_id": ticket_id, "expires_at": expires_at}
    return insert(UsedTicket).values(**values).on_conflict_do_nothing().returning(UsedTicket.ticket_id)


def organisation_name(organisation_id: UUID) -> Select[str]:
    """What the organisation is called."""
    return select(Organisation.name).where(Organisation.id == organisation_id)


def consented(organisation_id: UUID, user_id: UUID, client_id: UUID) -> Select[list[str]]:
    """The scopes that a person allowed a client."""
    return select(OAuthConsent.scopes).where(
        OAuthConsent.organisation_id == organisation_id,
        OAuthConsent.user_id == user_id,
        OAuthConsent.client_id == client_id,
    )


def consent(organisation_id: UUID, user_id: UUID, client_id: UUID, scopes: Sequence[str]) -> Insert:
    """Lets a client ask for these scopes."""
    new = insert(OAuthConsent).values(
        organisation_id=organisation_id, user_id=user_id, client_id=client_id, scopes=sorted(scopes)
    )
    return new.on_conflict_do_update(
        index_elements=["organisation_id", "user_id", "client_id"],
        set_={"scopes": new.excluded.scopes, "updated_at": func.now()},
    )


def consents(user_id: UUID) -> Select[OAuthConsent, OAuthClient, str]:
    """What a person allowed clients, with these and the names of their organisations, the latest first."""
    return (
        select(OAuthConsent, OAuthClient, Organisation.name)
        .join(
            OAuthClient,
            and_(
                OAuthClient.organisation_id == OAuthConsent.organisation_id,
                OAuthClient.id == OAuthConsent.client_id,
                OAuthClient.deleted_at.is_(None),
            ),
        )
        .join(Organisation, Organisation.id == OAuthConsent.organisation_id)
        .where(OAuthConsent.user_id == user_id)
        .order_by(OAuthConsent.updated_at.desc())
    )


def live_families(user_id: UUID, client_id: UUID | None = None) -> Select[OAuthFamily]:
    """What a person, or its session, lets clients do now."""
    statement = select(OAuthFamily).where(
        OAuthFamily.user_id == user_id, OAuthFamily.revoked_at.is_(None), OAuthFamily.expires_at > func.now()
    )
    return statement if client_id is None else statement.where(OAuthFamily.client_id == client_id)


def withdraw(user_id: UUID, client_id: UUID) -> ReturningDelete[UUID]:
    """Forgets that a person allowed a client anything."""
    mine = (OAuthConsent.user_id == user_id, OAuthConsent.client_id == client_id)
    return delete(OAuthConsent).where(*mine).returning(OAuthConsent.client_id)


def requested_claims(organisation_id: UUID, family_id: UUID) -> Select[dict[str, Any] | None]:
    """The claims that were asked for by name when something was allowed."""
    return select(OAuthFamily.claims).where(OAuthFamily.organisation_id == organisation_id, OAuthFamily.id == family_id)
