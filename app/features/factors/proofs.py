"""Whether somebody holds a person's factor. What is taken here is not taken again."""

from uuid import UUID

from sqlalchemy.orm import Session

from app.features.factors import queries, recovery_codes, totp
from app.features.factors.offers import Offer
from app.features.factors.passkeys import Answer, RelyingParty
from app.kit.encryption import KeyRing


def holds_app(db: Session, ring: KeyRing, user_id: UUID, code: str) -> bool:
    """Whether it is a code of the person's authenticator app that was not taken before."""
    found = db.scalars(queries.totp(user_id)).one_or_none()
    if found is None:
        return False
    timecode = totp.timecode(totp.unseal(ring, user_id, found.id, found.sealed), plain(code))
    return timecode is not None and db.scalar(queries.take_timecode(user_id, found.id, timecode)) is not None


def holds_recovery_code(db: Session, user_id: UUID, code: str) -> bool:
    """Whether it is a recovery code of the person that was not used."""
    return db.scalar(queries.take_recovery_code(user_id, recovery_codes.digest(code))) is not None


def holds_passkey(db: Session, party: RelyingParty, user_id: UUID, offer: Offer, answer: Answer) -> bool:
    """Whether a browser answered this challenge with a passkey of the person; a challenge is answered once."""
    if answer.user_handle not in {None, user_id}:
        return False
    found = db.scalars(queries.passkey(user_id, answer.credential_id)).one_or_none()
    proven = None if found is None else party.proven(offer.secret, answer.credential, found)
    if found is None or proven is None:
        return False
    counted = db.scalar(queries.count_signature(user_id, found.id, proven.new_sign_count))
    return counted is not None and use(db, user_id, offer)


def use(db: Session, owner_id: UUID, offer: Offer) -> bool:
    """Uses an offer up; False when it was used before."""
    return db.scalar(queries.use_ticket(owner_id, offer.id, offer.expires_at)) is not None


def plain(code: str) -> str:
    """A code without the gaps that people type between its digits."""
    return "".join(code.split())
