"""Statements about the members of an organisation and its invitations."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Delete, Select, Update, delete, func, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from app.domain.permissions import Role
from app.models import ApiKey, Invitation, Membership, OAuthConsent, OAuthFamily, Organisation, PersonSession, User

LEFT = "left the organisation"


def members(organisation_id: UUID) -> Select[Membership, User]:
    """Everybody in the organisation, in no order."""
    return (
        select(Membership, User)
        .join(User, User.id == Membership.user_id)
        .where(Membership.organisation_id == organisation_id, User.deleted_at.is_(None))
    )


def member(organisation_id: UUID, user_id: UUID) -> Select[Membership, User]:
    """One of them."""
    return members(organisation_id).where(Membership.user_id == user_id)


def first_members(organisation_id: UUID, most: int) -> Select[Membership, User]:
    """The first of them by their addresses."""
    return members(organisation_id).order_by(User.email_key).limit(most)


def newest_invitations(organisation_id: UUID, most: int) -> Select[Invitation]:
    """The newest invitations that are open."""
    return invitations(organisation_id, closed=False).order_by(Invitation.id.desc()).limit(most)


def lock_owners(organisation_id: UUID) -> Select[UUID]:
    """The owners who can sign in, kept as they are until the transaction ends: who is the last one stays."""
    return (
        members(organisation_id)
        .with_only_columns(Membership.user_id)
        .where(Membership.role == Role.owner, User.disabled_at.is_(None))
        .order_by(Membership.user_id)
        .with_for_update(of=Membership)
    )


def remove(organisation_id: UUID, user_id: UUID) -> Delete:
    """Takes a person out of the organisation."""
    mine = (Membership.organisation_id == organisation_id, Membership.user_id == user_id)
    return delete(Membership).where(*mine).execution_options(synchronize_session=False)


def forget_consents(organisation_id: UUID, user_id: UUID) -> Delete:
    """Forgets what the person allowed the organisation's clients."""
    mine = (OAuthConsent.organisation_id == organisation_id, OAuthConsent.user_id == user_id)
    return delete(OAuthConsent).where(*mine).execution_options(synchronize_session=False)


def revoke_families(organisation_id: UUID, user_id: UUID) -> Update:
    """Ends all tokens that the organisation's clients have of the person."""
    mine = (OAuthFamily.organisation_id == organisation_id, OAuthFamily.user_id == user_id)
    return (
        update(OAuthFamily)
        .where(*mine, OAuthFamily.revoked_at.is_(None))
        .values(revoked_at=func.now(), revoked_reason=LEFT)
        .execution_options(synchronize_session=False)
    )


def end_keys(organisation_id: UUID, user_id: UUID) -> ReturningUpdate[UUID]:
    """Ends the keys of the organisation that the person made; their ids come back."""
    return (
        update(ApiKey)
        .where(ApiKey.organisation_id == organisation_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=func.now(), version=ApiKey.version + 1)
        .returning(ApiKey.id)
        .execution_options(synchronize_session=False)
    )


def key_counts(organisation_id: UUID) -> Select[UUID | None, int]:
    """How many keys in force each person made in the organisation, where any."""
    in_force = (ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()))
    return (
        select(ApiKey.user_id, func.count())
        .where(ApiKey.organisation_id == organisation_id, ApiKey.user_id.is_not(None), *in_force)
        .group_by(ApiKey.user_id)
    )


def end_sessions(organisation_id: UUID, user_id: UUID, reason: str = LEFT) -> ReturningUpdate[UUID]:
    """Ends the person's sessions that look at the organisation; their ids come back."""
    mine = (PersonSession.user_id == user_id, PersonSession.organisation_id == organisation_id)
    return (
        update(PersonSession)
        .where(*mine, PersonSession.ended_at.is_(None))
        .values(ended_at=func.now(), end_reason=reason)
        .returning(PersonSession.id)
        .execution_options(synchronize_session=False)
    )


def look_at(user_id: UUID, session_id: UUID, organisation_id: UUID) -> Update:
    """Lets a session look at another organisation."""
    mine = (PersonSession.user_id == user_id, PersonSession.id == session_id, PersonSession.ended_at.is_(None))
    return (
        update(PersonSession)
        .where(*mine)
        .values(organisation_id=organisation_id)
        .execution_options(synchronize_session=False)
    )


def invitations(organisation_id: UUID, *, closed: bool) -> Select[Invitation]:
    """The organisation's invitations, in no order; those that were accepted or revoked too if asked for."""
    found = select(Invitation).where(Invitation.organisation_id == organisation_id)
    return found if closed else found.where(Invitation.accepted_at.is_(None), Invitation.revoked_at.is_(None))


def invitation(organisation_id: UUID, invitation_id: UUID) -> Select[Invitation]:
    """One of them, locked."""
    return invitations(organisation_id, closed=True).where(Invitation.id == invitation_id).with_for_update()


def open_invitation(organisation_id: UUID, email_key: str) -> Select[Invitation]:
    """The invitation of an address that was neither accepted nor revoked, locked."""
    return invitations(organisation_id, closed=False).where(Invitation.email_key == email_key).with_for_update()


def organisation_in_force(organisation_id: UUID) -> Select[str]:
    """The name of an organisation that people may work with."""
    return select(Organisation.name).where(
        Organisation.id == organisation_id, Organisation.deleted_at.is_(None), Organisation.suspended_at.is_(None)
    )


def organisations_of(user_id: UUID) -> Select[UUID, str, str]:
    """(id, name, role) of the organisations that the transaction names and the person belongs to, by name."""
    return (
        select(Organisation.id, Organisation.name, Membership.role)
        .join(Membership, Membership.organisation_id == Organisation.id)
        .where(Membership.user_id == user_id, Organisation.deleted_at.is_(None))
        .order_by(Organisation.name, Organisation.id)
    )


def now() -> Select[datetime]:
    """The moment at which the transaction began."""
    return select(func.now())
