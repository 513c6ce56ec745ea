"""Statements about OAuth clients, and about what they were given."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Delete, Select, Update, delete, func, or_, select, update

from app.models import Environment, OAuthClient, OAuthClientSecret


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
