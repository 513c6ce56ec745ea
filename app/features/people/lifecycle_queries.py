"""Statements that end what people have open, and forget them; for the operator's role, which sees everything."""

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import Delete, Select, Update, delete, exists, func, or_, select, update

from app.models import (
    ApiKey,
    Device,
    FailureCount,
    FederatedIdentity,
    Membership,
    OAuthConsent,
    OAuthFamily,
    OneTimeToken,
    Passkey,
    Password,
    PersonSession,
    RecoveryCode,
    Totp,
    User,
)

OWN = (
    Password,
    Totp,
    RecoveryCode,
    Passkey,
    OneTimeToken,
    FailureCount,
    Device,
    PersonSession,
    OAuthConsent,
    FederatedIdentity,
    Membership,
)


def people(organisation_id: UUID | None) -> Select[User]:
    """Everybody, or everybody of one organisation, by their addresses."""
    found = select(User).where(User.deleted_at.is_(None)).order_by(User.email_key)
    if organisation_id is None:
        return found
    return found.join(Membership, Membership.user_id == User.id).where(Membership.organisation_id == organisation_id)


def roles(user_id: UUID) -> Select[UUID, str]:
    """The organisations of a person, with its role in each."""
    return select(Membership.organisation_id, Membership.role).where(Membership.user_id == user_id)


def owned(user_id: UUID, role: str) -> Select[UUID]:
    """The organisations in which the person has the role."""
    return select(Membership.organisation_id).where(Membership.user_id == user_id, Membership.role == role)


def has_a_way_in(user_id: UUID) -> Select[bool]:
    """Whether the person can sign in by something else than a link."""
    ways = (Password, Passkey, FederatedIdentity)
    return select(or_(*(exists().where(one.user_id == user_id) for one in ways)))


def revoke_families(user_id: UUID, reason: str) -> Update:
    """Ends all tokens that clients have of the person, whichever organisation's they are."""
    mine = (OAuthFamily.user_id == user_id, OAuthFamily.revoked_at.is_(None))
    return update(OAuthFamily).where(*mine).values(revoked_at=func.now(), revoked_reason=reason)


def end_keys(user_id: UUID) -> Update:
    """Ends the keys that the person made, whichever organisation's they are."""
    mine = (ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    return update(ApiKey).where(*mine).values(revoked_at=func.now(), version=ApiKey.version + 1)


def void_links(user_id: UUID) -> Update:
    """Ends whatever was mailed to the person and is still good."""
    mine = (OneTimeToken.user_id == user_id, OneTimeToken.used_at.is_(None))
    return update(OneTimeToken).where(*mine).values(used_at=func.now()).execution_options(synchronize_session=False)


def forget(user_id: UUID) -> Iterator[Delete]:
    """Deletes what is the person's own."""
    for one in OWN:
        yield delete(one).where(one.user_id == user_id).execution_options(synchronize_session=False)
