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
from app.features.mail.letters import Letter
from app.features.mail.operations import queue
from app.features.people import queries as people
from app.features.people.journal import enter_organisations, note
from app.features.sessions.operations import renew
from app.kit.clock import new_id, utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem, conflict, not_found, unauthenticated
from app.models import Passkey, RecoveryCode, Totp

MAX_PASSKEYS = 20
WRONG_CODE = "That code is not right, or was used before: wait for the next one"
BAD_PASSKEY = "The passkey could not be verified: load the page anew and try again"
TOO_SHORT_ALONE = "Your password is too short to stand alone: choose a longer one, then remove your last factor"
USED_OFFER = "This page was open for too long, or was sent before: begin again"


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody changes how it signs in, within a session."""

    ring: KeyRing
    user_id: UUID
    session_id: UUID
    where: Where


@dataclass(frozen=True, slots=True, repr=False)
class Done:
    """The cookie that the session has from now on, and recovery codes that are shown this once."""

    cookie: str
    codes: Sequence[str] = ()


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

    @property
    def one(self) -> bool:
        """Whether there is one only, without which nothing is left but the password."""
        return (self.app is not None) + len(self.passkeys) == 1


def overview(db: Session, user_id: UUID) -> Factors:
    """The person's factors."""
    app = db.scalars(queries.totp(user_id)).one_or_none()
    passkeys = db.scalars(queries.passkeys(user_id)).all()
    return Factors(app, passkeys, db.scalar(queries.recovery_codes_left(user_id)) or 0)


def add_app(db: Session, act: Act, offer: Offer, code: str) -> Done:
    """Makes the offered secret that of the person's authenticator app, in place of an earlier one.

    New recovery codes come back where the person had none. Raises Problem `invalid` (`wrong_code`).
    """
    timecode = totp.timecode(offer.secret, proofs.plain(code))
    if timecode is None:
        raise Problem(Kind.invalid, "invalid", WRONG_CODE, word="wrong_code")
    _lock(db, act)
    _use(db, act, offer)
    db.execute(queries.remove_totp(act.user_id))
    sealed = totp.seal(act.ring, act.user_id, offer.id, offer.secret)
    db.add(Totp(user_id=act.user_id, id=offer.id, sealed=sealed, last_timecode=timecode, confirmed_at=utc_now()))
    db.flush()
    _tell(db, act, "user.factor_added", "An authenticator app was added", factor="totp")
    return _added(db, act, "otp")


def add_passkey(db: Session, act: Act, party: RelyingParty, offer: Offer, answer: Answer, name: str) -> Done:
    """Adds the passkey that a browser made; new recovery codes come back where the person had none.

    Raises Problem `bad_request` (`invalid_passkey`), `conflict` for one that somebody has, or for one too many.
    """
    made = party.created(offer.secret, answer.credential)
    if made is None:
        raise Problem(Kind.bad_request, "bad_request", BAD_PASSKEY, word="invalid_passkey")
    _lock(db, act)
    _use(db, act, offer)
    if len(overview(db, act.user_id).passkeys) >= MAX_PASSKEYS:
        raise conflict(f"You have {MAX_PASSKEYS} passkeys: remove one that you do not need first")
    passkey = Passkey(
        user_id=act.user_id,
        id=new_id(),
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        sign_count=made.sign_count,
        transports=answer.transports,
        is_backed_up=made.credential_backed_up,
        name=name,
    )
    _insert(db, passkey)
    _tell(db, act, "user.factor_added", f"The passkey “{name}” was added", factor="passkey", name=name)
    return _added(db, act, "hwk")


def remove_app(db: Session, act: Act, *, safe_without: bool) -> Done:
    """Forgets the person's authenticator app. Raises Problem `not_found`, and as `_removed`."""
    _lock(db, act)
    if db.scalar(queries.remove_totp(act.user_id)) is None:
        raise not_found("Authenticator app")
    _tell(db, act, "user.factor_removed", "The authenticator app was removed", factor="totp")
    return _removed(db, act, safe_without=safe_without)


def remove_passkey(db: Session, act: Act, passkey_id: UUID, *, safe_without: bool) -> Done:
    """Forgets a passkey of the person. Raises Problem `not_found`, and as `_removed`."""
    _lock(db, act)
    name = db.scalar(queries.remove_passkey(act.user_id, passkey_id))
    if name is None:
        raise not_found("Passkey")
    _tell(db, act, "user.factor_removed", f"The passkey “{name}” was removed", factor="passkey", name=name)
    return _removed(db, act, safe_without=safe_without)


def renew_recovery_codes(db: Session, act: Act) -> Done:
    """New recovery codes; the old ones are void. Raises Problem `conflict` for who has no second factor."""
    _lock(db, act)
    if not overview(db, act.user_id).some:
        raise conflict("Recovery codes stand in for a second factor: add one first")
    _tell(db, act, "user.recovery_codes_renewed", "New recovery codes were made")
    return Done(_renewed(db, act), _new_codes(db, act.user_id))


def tell_of_recovery_code(db: Session, ring: KeyRing, user_id: UUID) -> None:
    """Mails the person that a recovery code was used."""
    user = db.scalars(people.user(user_id)).one()
    left = db.scalar(queries.recovery_codes_left(user_id)) or 0
    what = f"A recovery code was used to sign in, {left} are left"
    queue(db, ring, user.id, Letter("factor_changed", user.email, {"what": what, "email": user.email}))


def note_refused(db: Session, user_id: UUID, answer: Answer, where: Where) -> None:
    """Writes down that an answer in the name of a passkey of the person was not true."""
    passkey = db.scalars(queries.passkey(user_id, answer.credential_id)).one_or_none()
    user = db.scalars(people.user(user_id)).one_or_none()
    if passkey is not None and user is not None:
        organisations = enter_organisations(db, user_id)
        note(db, user, "session.refused", where, organisations, Outcome.refused, method="hwk", passkey=passkey.name)


def _lock(db: Session, act: Act) -> None:
    """Lets a person's changes come one after another: two at once would remove both of its last two factors."""
    db.execute(people.user(act.user_id).with_for_update(key_share=True))


def _use(db: Session, act: Act, offer: Offer) -> None:
    if not proofs.use(db, act.user_id, offer):
        raise Problem(Kind.bad_request, "bad_request", USED_OFFER, word="used_offer")


def _insert(db: Session, passkey: Passkey) -> None:
    try:
        with db.begin_nested():
            db.add(passkey)
    except IntegrityError:
        raise conflict("This passkey is known already") from None


def _added(db: Session, act: Act, method: str) -> Done:
    codes = [] if overview(db, act.user_id).recovery_codes else _new_codes(db, act.user_id)
    return Done(_renewed(db, act, method, "mfa"), codes)


def _removed(db: Session, act: Act, *, safe_without: bool) -> Done:
    """What follows. `safe_without` says whether the person may be without any factor, which is a matter of passwords.

    Raises Problem `conflict` where it may not, or an organisation demands one.
    """
    if not overview(db, act.user_id).some:
        if db.scalar(people.is_asked_for_mfa(act.user_id)):
            raise conflict("An organisation of yours demands a second factor: add another one, then remove this one")
        if not safe_without:
            raise Problem(Kind.conflict, "conflict", TOO_SHORT_ALONE, word="password_too_short")
        db.execute(queries.remove_recovery_codes(act.user_id))
    return Done(_renewed(db, act))


def _new_codes(db: Session, user_id: UUID) -> list[str]:
    codes = recovery_codes.new_codes()
    db.execute(queries.remove_recovery_codes(user_id))
    db.add_all(RecoveryCode(user_id=user_id, id=new_id(), digest=recovery_codes.digest(one)) for one in codes)
    db.flush()
    return codes


def _renewed(db: Session, act: Act, *methods: str) -> str:
    cookie = renew(db, act.user_id, act.session_id, methods=methods)
    if cookie is None:
        raise unauthenticated("This session is over: sign in again")
    return cookie


def _tell(db: Session, act: Act, action: str, what: str, **details: str) -> None:
    """Tells the audit log, and the person by mail."""
    user = db.scalars(people.user(act.user_id)).one()
    note(db, user, action, act.where, enter_organisations(db, user.id), Outcome.success, **details)
    queue(db, act.ring, user.id, Letter("factor_changed", user.email, {"what": what, "email": user.email}))
