"""Statements about people and their organisations."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Select, Update, func, select, update

from app.domain.owned_tokens import Token
from app.models import Membership, OneTimeToken, Organisation, Password, User


def find_user(email_key: str) -> Select[UUID]:
    """Whose address it is, whoever asks: the one thing that is told of people who are not named."""
    return select(func.find_user(email_key))


def user(user_id: UUID) -> Select[User]:
    """A person."""
    return select(User).where(User.id == user_id, User.deleted_at.is_(None))


def password(user_id: UUID) -> Select[Password]:
    """A person's password."""
    return select(Password).where(Password.user_id == user_id)


def replace_hash(user_id: UUID, old: str, hashed: str) -> Update:
    """The same password under another hash, unless it was changed meanwhile."""
    return update(Password).where(Password.user_id == user_id, Password.hash == old).values(hash=hashed)


def organisations(user_id: UUID) -> Select[UUID, str]:
    """The organisations of a person, with its role in each."""
    return (
        select(Membership.organisation_id, Membership.role)
        .where(Membership.user_id == user_id)
        .order_by(Membership.created_at, Membership.organisation_id)
    )


def membership(organisation_id: UUID, user_id: UUID) -> Select[Membership]:
    """A person's place in an organisation."""
    return select(Membership).where(Membership.organisation_id == organisation_id, Membership.user_id == user_id)


def demands_mfa(organisation_id: UUID) -> Select[bool]:
    """Whether the organisation asks its people for a second factor."""
    return select(Organisation.mfa_required).where(Organisation.id == organisation_id)


def is_asked_for_mfa(user_id: UUID) -> Select[bool]:
    """Whether an organisation of the person demands a second factor."""
    return select(func.demands_mfa(user_id))


def names(organisations: Collection[UUID]) -> Select[str]:
    """What organisations are called."""
    return select(Organisation.name).where(Organisation.id.in_(organisations))


def open_token(token: Token, purpose: str) -> Select[OneTimeToken]:
    """A token's row where it is still good."""
    return select(OneTimeToken).where(
        OneTimeToken.user_id == token.owner_id,
        OneTimeToken.id == token.id,
        OneTimeToken.purpose == purpose,
        OneTimeToken.digest == token.digest,
        OneTimeToken.used_at.is_(None),
        OneTimeToken.expires_at > func.now(),
    )


def void_tokens(user_id: UUID, *purposes: str) -> Update:
    """Ends the tokens of these purposes that are still open."""
    mine = update(OneTimeToken).where(OneTimeToken.user_id == user_id, OneTimeToken.purpose.in_(purposes))
    return mine.where(OneTimeToken.used_at.is_(None)).values(used_at=func.now())
