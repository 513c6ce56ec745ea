"""What a person does about its own password and address: changes both, or gets back in by mail.

The functions run in a transaction that names the person; hashing happens between two of them.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.domain import email
from app.domain.audit import Where
from app.domain.owned_tokens import Token
from app.features.accounts.passwords import Rules, rules_of
from app.features.mail.letters import Letter
from app.features.mail.operations import queue
from app.features.people import operations, tokens
from app.features.people import queries as people
from app.features.people.journal import enter_organisations, note
from app.features.sessions import operations as sessions
from app.features.sessions import queries as session_queries
from app.features.sign_in.throttle import end_stops
from app.kit import changes
from app.kit.clock import utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem, conflict, unauthenticated
from app.models import User

RESET, EMAIL_CHANGE = "password_reset", "email_change"
RESET_LIFETIME, EMAIL_CHANGE_LIFETIME = timedelta(minutes=30), timedelta(hours=24)
LINK_OVER = "This link was used, is too old, or was copied only in part: ask for a new one"


@dataclass(frozen=True, slots=True)
class Act:
    """Who acts from where, and what seals the letters about it."""

    user_id: UUID
    where: Where
    ring: KeyRing


def rules(db: Session, user_id: UUID) -> Rules:
    """The rules for the person's password. Raises Problem `unauthenticated`."""
    return rules_of(db, _user(db, user_id))


def change_password(db: Session, act: Act, hashed: str, session_id: UUID, *, end_others: bool) -> str:
    """Gives the person another password; the cookie of its session, which is a new one, comes back.

    With `end_others` every other session is over, and so is whatever was given to clients.
    """
    user = _user(db, act.user_id)
    operations.set_password(db, user.id, hashed)
    # Whoever had been in the session may have asked for another address, too.
    tokens.void(db, user.id, RESET, EMAIL_CHANGE)
    if end_others:
        _end_all(db, user, "password changed", but=session_id)
    cookie = sessions.renew(db, user.id, session_id)
    if cookie is None:
        raise unauthenticated("Sign in first")
    _tell(db, act, user, "password_changed")
    note(db, user, "user.password_changed", act.where, enter_organisations(db, user.id), others_ended=end_others)
    return cookie


def ask_reset(db: Session, act: Act) -> None:
    """Mails the person a link by which it can choose a new password. Who is disabled gets none."""
    user = _user(db, act.user_id)
    if user.disabled_at is None:
        token = tokens.issue(db, user.id, RESET, RESET_LIFETIME)
        _tell(db, act, user, "password_reset", token=token)
        note(db, user, "user.password_reset_asked", act.where, enter_organisations(db, user.id))


def resettable(db: Session, token: Token) -> Rules:
    """The rules for the password that the link lets somebody choose. Raises Problem `bad_request`."""
    if tokens.look(db, token, RESET) is None:
        raise link_over()
    return rules(db, token.owner_id)


def reset_password(db: Session, act: Act, token: Token, hashed: str) -> None:
    """Gives the person a new password for the link, ends every session, and all that was given to clients.

    Second factors stay as they are. Raises Problem `bad_request` for a link that is over.
    """
    if tokens.use(db, token, RESET) is None:
        raise link_over()
    user = _user(db, act.user_id)
    operations.set_password(db, user.id, hashed)
    tokens.void(db, user.id, RESET, EMAIL_CHANGE)
    end_stops(db, user.id)
    _end_all(db, user, "password reset")
    _tell(db, act, user, "password_changed")
    note(db, user, "user.password_reset", act.where, enter_organisations(db, user.id))


def ask_email_change(db: Session, act: Act, address: str) -> None:
    """Mails a link to the new address, and a notice to the old one.

    An address that somebody else has gets no link; who asks is not told, for that would tell who is known.
    """
    user = _user(db, act.user_id)
    key = email.key(address)
    if key is None:
        raise Problem(Kind.invalid, "invalid", "That is no mail address", word="no_address")
    tokens.void(db, user.id, EMAIL_CHANGE)
    if db.scalar(people.find_user(key)) is None:
        token = tokens.issue(db, user.id, EMAIL_CHANGE, EMAIL_CHANGE_LIFETIME, email=address.strip())
        letter = Letter("email_change", address.strip(), {"address": user.email, "token": token})
        queue(db, act.ring, user.id, letter)
    _tell(db, act, user, "email_change_asked", address=address.strip())
    note(db, user, "user.email_change_asked", act.where, enter_organisations(db, user.id))


def email_change(db: Session, token: Token) -> tuple[str, str]:
    """The old and the new address that a link would change. Raises Problem `bad_request`."""
    row = tokens.look(db, token, EMAIL_CHANGE)
    if row is None:
        raise link_over()
    return _user(db, token.owner_id).email, str(row.data["email"])


def change_email(db: Session, act: Act, token: Token) -> None:
    """Makes the address of the link the person's own; the old one hears of it.

    Raises Problem `bad_request` for a link that is over, `conflict` where somebody else took the address meanwhile.
    """
    row = tokens.use(db, token, EMAIL_CHANGE)
    if row is None:
        raise link_over()
    user = _user(db, act.user_id)
    _tell(db, act, user, "email_changed", address=str(row.data["email"]))
    user.email, user.email_key = str(row.data["email"]), email.key(str(row.data["email"])) or ""
    user.email_verified_at = utc_now()
    try:
        db.flush()
    except IntegrityError:
        raise conflict("Somebody else has this address by now") from None
    tokens.void(db, user.id, RESET, EMAIL_CHANGE)
    changes.note(db, user.id)
    note(db, user, "user.email_changed", act.where, enter_organisations(db, user.id))


def link_over() -> Problem:
    """A link that is no longer good, or never was."""
    return Problem(Kind.bad_request, "bad_request", LINK_OVER, word="invalid_token")


def _user(db: Session, user_id: UUID) -> User:
    user = db.scalars(people.user(user_id).with_for_update(key_share=True)).one_or_none()
    if user is None:
        raise unauthenticated("Sign in first")
    return user


def _tell(db: Session, act: Act, user: User, kind: str, **values: str) -> None:
    queue(db, act.ring, user.id, Letter(kind, user.email, {"where": act.where.ip or "an unknown address", **values}))


def _end_all(db: Session, user: User, reason: str, but: UUID | None = None) -> None:
    sessions.end_all(db, user.id, reason, but=but)
    user.session_version += 1
    db.flush()
    if but is not None and (kept := db.scalars(session_queries.one(user.id, but)).one_or_none()) is not None:
        kept.session_version = user.session_version
    changes.note(db, user.id)
