"""Statements about identity providers; the organisation comes first in each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Delete, Select, column, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from app.models import FederatedIdentity, IdentityProvider, ProviderDomain, UsedTicket


def listed(organisation_id: UUID) -> Select[IdentityProvider]:
    """The organisation's providers, in no order."""
    return select(IdentityProvider).where(IdentityProvider.organisation_id == organisation_id)


def provider(organisation_id: UUID, provider_id: UUID) -> Select[IdentityProvider]:
    """One of them."""
    return listed(organisation_id).where(IdentityProvider.id == provider_id)


def enabled(organisation_id: UUID, provider_id: UUID) -> Select[IdentityProvider]:
    """One of them, at which people may sign in."""
    return provider(organisation_id, provider_id).where(IdentityProvider.disabled_at.is_(None))


def domains(organisation_id: UUID, provider_ids: Sequence[UUID]) -> Select[ProviderDomain]:
    """The domains of providers, by name."""
    return (
        select(ProviderDomain)
        .where(ProviderDomain.organisation_id == organisation_id, ProviderDomain.provider_id.in_(provider_ids))
        .order_by(ProviderDomain.domain)
    )


def domain(organisation_id: UUID, provider_id: UUID, name: str) -> Select[ProviderDomain]:
    """One domain of a provider."""
    return domains(organisation_id, [provider_id]).where(ProviderDomain.domain == name)


def verified(organisation_id: UUID, provider_id: UUID) -> Select[str]:
    """The domains of a provider that are proved to be its organisation's."""
    return select(ProviderDomain.domain).where(
        ProviderDomain.organisation_id == organisation_id,
        ProviderDomain.provider_id == provider_id,
        ProviderDomain.verified_at.is_not(None),
    )


def remove_domain(organisation_id: UUID, provider_id: UUID, name: str) -> Delete:
    """Takes a domain from a provider."""
    return delete(ProviderDomain).where(
        ProviderDomain.organisation_id == organisation_id,
        ProviderDomain.provider_id == provider_id,
        ProviderDomain.domain == name,
    )


def find_by_domain(name: str) -> Select[Any]:
    """(organisation, provider) of whoever has proved that the domain is theirs, whoever asks."""
    found = func.find_identity_provider(name).table_valued(column("organisation_id"), column("provider_id"))
    return select(found.c.organisation_id, found.c.provider_id)


def find_organisation(provider_id: UUID) -> Select[UUID]:
    """Whose provider it is, if people may sign in at it, whoever asks."""
    return select(func.find_provider(provider_id))


def find_sessions(provider_id: UUID, subject: str | None, session: str | None) -> Select[Any]:
    """(person, session) of whoever is signed in by a provider, as its subject, its session, or both name them."""
    found = func.find_provider_sessions(provider_id, subject, session).table_valued(
        column("user_id"), column("session_id")
    )
    return select(found.c.user_id, found.c.session_id)


def identity(organisation_id: UUID, provider_id: UUID, subject: str) -> Select[FederatedIdentity]:
    """Whom a provider means by a subject."""
    return select(FederatedIdentity).where(
        FederatedIdentity.organisation_id == organisation_id,
        FederatedIdentity.provider_id == provider_id,
        FederatedIdentity.subject == subject,
    )


def forget_identities(organisation_id: UUID, provider_id: UUID) -> Delete:
    """Forgets whom a provider means by its subjects."""
    return delete(FederatedIdentity).where(
        FederatedIdentity.organisation_id == organisation_id, FederatedIdentity.provider_id == provider_id
    )


def use_once(owner_id: UUID, ticket_id: UUID, expires_at: datetime) -> ReturningInsert[UUID]:
    """Uses up a sealed thing; no row comes back when it was used before."""
    return (
        insert(UsedTicket)
        .values(owner_id=owner_id, ticket_id=ticket_id, expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(UsedTicket.ticket_id)
    )
