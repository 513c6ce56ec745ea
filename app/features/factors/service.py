"""A person's second factors: adds, removes and lists them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.domain.audit import Outcome, Where
from app.features.factors import proofs, queries, recovery_codes, totp
from app.features.factors.offers import Offer
from app.features.factors.passkeys import Answer, RelyingParty
from app.features.people import queries as people
from app.features.sign_in.service import enter_organisations, note
from app.kit.clock import new_id, utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem, conflict, not_found
from app.models import Passkey, RecoveryCode, Totp

MAX_PASSKEYS = 20
WRONG_CODE = "That code is not right, or was used before: wait for the next one"
BAD_PASSKEY = "The passkey could not be verified: load the page anew and try again"
USED_OFFER = "This page was open for too long, or was sent before: begin again"


@dataclass(frozen=True, slots=True)
class Factors:
    """What a person has."""

    app: Totp | None
    passkeys: Sequence[Passkey]
    recovery_codes: int

    @property
    def some(self) -> bool:
        """Whether there is a second factor."""
        return self.app is not None or bool(self.passkeys)


def overview(db: Session, user_id: UUID) -> Factors:
    """The person's factors."""
    app = db.scalars(queries.totp(user_id)).one_or_none()
    passkeys = db.scalars(queries.passkeys(user_id)).all()
    return Factors(app, passkeys, db.scalar(queries.recovery_codes_left(user_id)) or 0)


def add_app(db: Session, ring: KeyRing, user_id: UUID, offer: Offer, code: str, where: Where) -> list[str]:
    """Makes the offered secret that of the person's authenticator app, in place of an earlier one.

    New recovery codes come back where the person had none. Raises Problem `invalid` (`wrong_code`).
    """
    timecode = totp.timecode(offer.secret, proofs.plain(code))
    if timecode is None:
        raise Problem(Kind.invalid, "invalid", WRONG_CODE, word="wrong_code")
    _use(db, user_id, offer)
    db.execute(queries.remove_totp(user_id))
    sealed = totp.seal(ring, user_id, offer.id, offer.secret)
    db.add(Totp(user_id=user_id, id=offer.id, sealed=sealed, last_timecode=timecode, confirmed_at=utc_now()))
    db.flush()
    return _added(db, user_id, where, factor="totp")


def add_passkey(
    db: Session, party: RelyingParty, user_id: UUID, offer: Offer, answer: Answer, name: str, where: Where
) -> list[str]:
    """Adds the passkey that a browser made; new recovery codes come back where the person had none.

    Raises Problem `bad_request` (`invalid_passkey`), `conflict` for one that somebody has, or for one too many.
    """
    made = party.created(offer.secret, answer.credential)
    if made is None:
        raise Problem(Kind.bad_request, "bad_request", BAD_PASSKEY, word="invalid_passkey")
    _use(db, user_id, offer)
    if len(overview(db, user_id).passkeys) >= MAX_PASSKEYS:
        raise conflict(f"You have {MAX_PASSKEYS} passkeys: remove one that you do not need first")
    passkey = Passkey(
        user_id=user_id,
        id=new_id(),
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        sign_count=made.sign_count,
        transports=answer.transports,
        is_backed_up=made.credential_backed_up,
        name=name,
    )
    _insert(db, passkey)
    return _added(db, user_id, where, factor="passkey", name=name)


def remove_app(db: Session, user_id: UUID, where: Where) -> None:
    """Forgets the person's authenticator app. Raises Problem `not_found`."""
    if db.scalar(queries.remove_totp(user_id)) is None:
        raise not_found("Authenticator app")
    _removed(db, user_id, where, factor="totp")


def remove_passkey(db: Session, user_id: UUID, passkey_id: UUID, where: Where) -> None:
    """Forgets a passkey of the person. Raises Problem `not_found`."""
    name = db.scalar(queries.remove_passkey(user_id, passkey_id))
    if name is None:
        raise not_found("Passkey")
    _removed(db, user_id, where, factor="passkey", name=name)


def renew_recovery_codes(db: Session, user_id: UUID, where: Where) -> list[str]:
    """New recovery codes; the old ones are void. Raises Problem `conflict` for who has no second factor."""
    if not overview(db, user_id).some:
        raise conflict("Recovery codes stand in for a second factor: add one first")
    codes = _new_codes(db, user_id)
    _tell(db, user_id, "user.recovery_codes_renewed", where)
    return codes


def _use(db: Session, user_id: UUID, offer: Offer) -> None:
    if not proofs.use(db, user_id, offer):
        raise Problem(Kind.bad_request, "bad_request", USED_OFFER, word="used_offer")


def _insert(db: Session, passkey: Passkey) -> None:
    try:
        with db.begin_nested():
            db.add(passkey)
    except IntegrityError:
        raise conflict("This passkey is known already") from None


def _new_codes(db: Session, user_id: UUID) -> list[str]:
    codes = recovery_codes.new_codes()
    db.execute(queries.remove_recovery_codes(user_id))
    db.add_all(RecoveryCode(user_id=user_id, id=new_id(), digest=recovery_codes.digest(one)) for one in codes)
    db.flush()
    return codes


def _added(db: Session, user_id: UUID, where: Where, **details: str) -> list[str]:
    _tell(db, user_id, "user.factor_added", where, **details)
    return [] if overview(db, user_id).recovery_codes else _new_codes(db, user_id)


def _removed(db: Session, user_id: UUID, where: Where, **details: str) -> None:
    _tell(db, user_id, "user.factor_removed", where, **details)
    if not overview(db, user_id).some:
        db.execute(queries.remove_recovery_codes(user_id))


def _tell(db: Session, user_id: UUID, action: str, where: Where, **details: str) -> None:
    user = db.scalars(people.user(user_id)).one()
    note(db, user, action, where, enter_organisations(db, user_id), Outcome.success, **details)
