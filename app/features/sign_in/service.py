"""Signing in: one proof after another, until there is enough for a session.

Each way in (password, passkey, identity provider, link) proves who somebody is, and then asks `conclude` what that is
worth: a session, or a ticket to the next step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Self
from uuid import UUID

from sqlalchemy.orm import Session

from app.auth.people import has_mfa
from app.domain.assurance import STRONG
from app.domain.audit import Outcome
from app.domain.ids import encode
from app.domain.places import Place
from app.domain.risk import LATELY, Attempt, Judgement, Sighting, judge
from app.features.mail.letters import Letter
from app.features.mail.operations import queue
from app.features.people import queries as people
from app.features.people.journal import enter_organisations, note
from app.features.sessions import devices, queries
from app.features.sessions import operations as sessions
from app.features.sessions.devices import Met
from app.features.sessions.operations import NewSession
from app.features.sign_in.circumstances import Circumstances
from app.features.sign_in.measures import measure_proof
from app.features.sign_in.queries import UNKNOWN_DEVICE, lately
from app.features.sign_in.tickets import Ticket, Vouched, new_ticket
from app.kit.clock import utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import unauthenticated
from app.kit.telemetry.metrics import RISK_SIGNALS
from app.models import PersonSession, User

STEPPED_UP = STRONG | {"mail"}
"""Methods that answer a risk: who has no second factor is sent a code."""
HISTORY = 100
WRONG = "That is not right, or nobody has this address: try again"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the installation grants: how long sessions rest and last, and how many a person has at once.

    From the risk `step_up_from` on a second step is asked for. The ring seals what is mailed.
    """

    lifetime: timedelta
    idle: timedelta
    sessions: int
    step_up_from: int
    ring: KeyRing


@dataclass(frozen=True, slots=True)
class Proven:
    """Who somebody proved to be, and how; what an identity provider said belongs to it.

    `failures_here` is how often that failed lately at the same address, for whomever.
    """

    user_id: UUID
    methods: Sequence[str]
    vouched: Vouched | None = None
    failures_here: int = 0

    @classmethod
    def further(cls, ticket: Ticket, *methods: str) -> Self:
        """What a ticket's holder has proved by now, with one proof more."""
        return cls(ticket.user_id, (*ticket.methods, *methods), ticket.vouched)


@dataclass(frozen=True, slots=True)
class Begun:
    """A session has begun: the text of its cookie, where the person was going, and at which device."""

    cookie: str = field(repr=False)
    session_id: UUID
    next: str
    device_id: UUID


Step = Begun | Ticket
"""What comes of a proof."""


def conclude(db: Session, proven: Proven, circumstances: Circumstances, terms: Terms, next_: str) -> Step:
    """Begins the session of whoever proved enough; else a ticket for the next step, because of a factor or of the risk.

    The transaction names the person. Raises Problem `unauthenticated` for a person who is disabled.
    """
    user = db.scalars(people.user(proven.user_id).with_for_update(key_share=True)).one_or_none()
    if user is None or user.disabled_at is not None:
        # What a provider vouched for is counted where its refusals are.
        if proven.vouched is None:
            measure_proof(proven.methods, "disabled")
        raise unauthenticated(WRONG)
    given = set(proven.methods)
    if db.scalar(has_mfa(user.id)) and not STRONG & given:
        return _ticket(user, proven, "mfa", next_)
    judgement = _judge(db, proven, circumstances)
    for reason in judgement.reasons:
        RISK_SIGNALS.labels(reason).inc()
    entering = _Entering(user, proven, circumstances, judgement, enter_organisations(db, user.id))
    if judgement.score >= terms.step_up_from and not STEPPED_UP & given:
        entering.note(
            db,
            "session.risk",
            Outcome.refused,
            risk=judgement.score,
            reasons=judgement.reasons,
            decision="step_up_required",
        )
        measure_proof(proven.methods, "stepped_up")
        return _ticket(user, proven, "risk", next_)
    return _begin(db, entering, terms, next_)


def _ticket(user: User, proven: Proven, reason: str, next_: str) -> Ticket:
    ticket = new_ticket(user.id, user.session_version, proven.methods, reason, next_)
    return replace(ticket, vouched=proven.vouched)


def _judge(db: Session, proven: Proven, circumstances: Circumstances) -> Judgement:
    user_id, device_id = proven.user_id, circumstances.device_id
    is_known = devices.is_known(db, user_id, device_id, circumstances.browser)
    counted = device_id if is_known and device_id is not None else UNKNOWN_DEVICE
    failures = db.scalar(lately(user_id, counted)) or 0
    now = Sighting(utc_now(), circumstances.address, circumstances.place)
    history = db.scalars(queries.history(user_id, HISTORY)).all()
    begun = sum(one.created_at > now.at - LATELY for one in history)
    others = max(0, proven.failures_here - failures)
    return judge(Attempt(now, is_known, failures, others, begun), [_sighting(one) for one in history])


def _sighting(one: PersonSession) -> Sighting:
    # Of where a session went later the address alone is known.
    at = one.last_seen_at if one.last_seen_from == one.address else one.created_at
    place = Place(one.country, one.place, one.latitude, one.longitude, one.network)
    return Sighting(at, one.address, place)


@dataclass(frozen=True, slots=True)
class _Entering:
    """Somebody for whom a session is to begin."""

    user: User
    proven: Proven
    circumstances: Circumstances
    judgement: Judgement
    organisations: Sequence[UUID]

    @property
    def organisation_id(self) -> UUID | None:
        """The organisation to look at first."""
        vouched = self.proven.vouched
        return next(iter(self.organisations), None) if vouched is None else vouched.organisation_id

    def note(self, db: Session, action: str, outcome: Outcome = Outcome.success, **details: object) -> None:
        """Writes down what happens at the beginning."""
        note(db, self.user, action, self.circumstances.where, self.organisations, outcome, **details)


def _begin(db: Session, entering: _Entering, terms: Terms, next_: str) -> Begun:
    user, proven, circumstances = entering.user, entering.proven, entering.circumstances
    vouched = proven.vouched
    device = devices.meet(db, user.id, circumstances.device_id, circumstances.browser, circumstances.address)
    new = NewSession(
        methods=proven.methods,
        expires_at=utc_now() + terms.lifetime,
        organisation_id=entering.organisation_id,
        device_id=device.id,
        address=circumstances.address,
        user_agent=circumstances.where.user_agent,
        place=circumstances.place,
        risk=entering.judgement.score,
        provider_id=None if vouched is None else vouched.provider_id,
        provider_subject=None if vouched is None else vouched.subject,
        provider_session=None if vouched is None else vouched.session,
    )
    session, cookie = sessions.begin(db, user, new)
    _note_beginning(db, entering, session)
    if device.is_new:
        _note_device(db, entering, device, terms.ring)
    for ended in sessions.end_oldest(db, user.id, terms.sessions, terms.idle):
        entering.note(db, "session.ended", session=encode("session", ended), reason="too many sessions")
    measure_proof(proven.methods, "signed_in")
    return Begun(cookie, session.id, next_, device.id)


def _note_beginning(db: Session, entering: _Entering, session: PersonSession) -> None:
    entering.note(
        db,
        "session.begun",
        session=encode("session", session.id),
        methods=entering.proven.methods,
        risk=entering.judgement.score,
        reasons=entering.judgement.reasons,
        decision="let_in",
    )


def _note_device(db: Session, entering: _Entering, device: Met, ring: KeyRing) -> None:
    user, circumstances = entering.user, entering.circumstances
    entering.note(db, "device.new", device=encode("device", device.id), name=circumstances.browser.name)
    if device.is_first:
        return  # whoever never signed in before cannot be surprised by it
    values = {
        "name": user.name,
        "device": circumstances.browser.name,
        "when": f"{utc_now():%Y-%m-%d %H:%M}",
        "address": circumstances.where.ip or "unknown",
        "place": circumstances.place.name or "",
    }
    queue(db, ring, user.id, Letter("new_device", user.email, values))
