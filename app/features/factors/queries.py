"""Statements about second factors."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Delete, Select, Update, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningDelete, ReturningInsert

from app.models import OneTimeToken, Passkey, RecoveryCode, Totp, UsedTicket


def use_ticket(owner_id: UUID, ticket_id: UUID, expires_at: datetime) -> ReturningInsert[UUID]:
    """Uses something up that is good once; its id comes back the first time only."""
    return (
        insert(UsedTicket)
        .values(owner_id=owner_id, ticket_id=ticket_id, expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(UsedTicket.ticket_id)
    )


def used_ticket(owner_id: UUID, ticket_id: UUID) -> Select[UUID]:
    """Something that was used up."""
    return select(UsedTicket.ticket_id).where(UsedTicket.owner_id == owner_id, UsedTicket.ticket_id == ticket_id)


def totp(user_id: UUID) -> Select[Totp]:
    """The person's authenticator app."""
    return select(Totp).where(Totp.user_id == user_id, Totp.confirmed_at.is_not(None))


def take_timecode(user_id: UUID, secret_id: UUID, timecode: int) -> Update:
    """Takes a period's code; nothing comes back when it, or a later one, was taken before."""
    return (
        update(Totp)
        .where(
            Totp.user_id == user_id,
            Totp.id == secret_id,
            or_(Totp.last_timecode.is_(None), Totp.last_timecode < timecode),
        )
        .values(last_timecode=timecode)
        .returning(Totp.id)
    )


def remove_totp(user_id: UUID) -> ReturningDelete[UUID]:
    """Forgets the person's authenticator app; the ids of those removed come back."""
    return delete(Totp).where(Totp.user_id == user_id).returning(Totp.id)


def passkeys(user_id: UUID) -> Select[Passkey]:
    """The person's passkeys, the oldest first."""
    return select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.created_at, Passkey.id)


def passkey(user_id: UUID, credential_id: bytes) -> Select[Passkey]:
    """The person's passkey of this id."""
    return select(Passkey).where(Passkey.user_id == user_id, Passkey.credential_id == credential_id)


def count_signature(user_id: UUID, passkey_id: UUID, count: int) -> Update:
    """Takes a proof; nothing comes back when the passkey's counter does not rise. Zero says that it has none."""
    return (
        update(Passkey)
        .where(
            Passkey.user_id == user_id,
            Passkey.id == passkey_id,
            Passkey.sign_count < count if count else Passkey.sign_count == 0,
        )
        .values(sign_count=count, last_used_at=func.now())
        .returning(Passkey.id)
    )


def remove_passkey(user_id: UUID, passkey_id: UUID) -> ReturningDelete[str]:
    """Forgets a passkey; its name comes back."""
    return delete(Passkey).where(Passkey.user_id == user_id, Passkey.id == passkey_id).returning(Passkey.name)


def take_recovery_code(user_id: UUID, digest: bytes) -> Update:
    """Uses a recovery code up; nothing comes back for one that is not the person's, or was used."""
    return (
        update(RecoveryCode)
        .where(RecoveryCode.user_id == user_id, RecoveryCode.digest == digest, RecoveryCode.used_at.is_(None))
        .values(used_at=func.now())
        .returning(RecoveryCode.id)
    )


def remove_recovery_codes(user_id: UUID) -> Delete:
    """Voids all of the person's recovery codes."""
    return delete(RecoveryCode).where(RecoveryCode.user_id == user_id)


def recovery_codes_left(user_id: UUID) -> Select[int]:
    """How many recovery codes the person has that were not used."""
    return select(func.count()).where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))


def live_tokens(user_id: UUID, purpose: str) -> Select[int]:
    """How many tokens of a purpose the person may still use."""
    return select(func.count()).where(
        OneTimeToken.user_id == user_id, OneTimeToken.purpose == purpose, OneTimeToken.expires_at > func.now()
    )


def newest_token(user_id: UUID, purpose: str, bound_to: str) -> Select[OneTimeToken]:
    """The last token that was made for this, where it was not used yet."""
    return (
        select(OneTimeToken)
        .where(
            OneTimeToken.user_id == user_id,
            OneTimeToken.purpose == purpose,
            OneTimeToken.data["for"].astext == bound_to,
            OneTimeToken.expires_at > func.now(),
            OneTimeToken.used_at.is_(None),
        )
        .order_by(OneTimeToken.id.desc())
        .limit(1)
    )


def use_token(user_id: UUID, token_id: UUID) -> Update:
    """Uses a token up; its id comes back the first time only."""
    return (
        update(OneTimeToken)
        .where(OneTimeToken.user_id == user_id, OneTimeToken.id == token_id, OneTimeToken.used_at.is_(None))
        .values(used_at=func.now())
        .returning(OneTimeToken.id)
    )
