"""The second step of signing in, by whatever the person has."""

from collections.abc import Callable
from typing import Any

from fastapi import Response
from sqlalchemy.orm import Session

from app.auth.people import TICKET
from app.auth.phases import InPhases
from app.console.sign_in import circumstances, proceed, terms
from app.console.visits import Pages, Posted, Visit, Visiting, field
from app.features.factors import proofs, queries, service
from app.features.factors.offers import Offer
from app.features.factors.passkeys import CHALLENGE_BYTES, Answer, RelyingParty
from app.features.people import queries as people
from app.features.sign_in.service import Proven, Step, conclude
from app.features.sign_in.tickets import Ticket, Tickets
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem, unauthenticated

PAGE = "/sign-in/second-step"
SECOND_STEP = "second-step"
MAX_ANSWER = 16 * 1024
OVER = "This sign-in took too long, or is done already: begin again"
WRONG_CODE = "That code is not right, or was used before"
WRONG_PASSKEY = "The passkey could not be verified: load the page anew and try again"
router = Pages(PAGE)

Proof = Callable[[Session], bool]


@router.get("")
async def show(visiting: Visiting, phases: InPhases) -> Response:
    """What the person may show."""
    ticket = _ticket(visiting)
    return visiting.go("/sign-in") if ticket is None else await _page(visiting, phases, ticket)


@router.post("")
async def take_app_code(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """A code of the authenticator app."""
    ticket, code = _held(visiting), field(fields, "code")

    def proof(db: Session) -> bool:
        return proofs.holds_app(db, _ring(visiting), ticket.user_id, code)

    return await _take(visiting, phases, ticket, "otp", proof)


@router.post("/recovery-code")
async def take_recovery_code(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """A recovery code."""
    ticket, code = _held(visiting), field(fields, "recovery_code")

    def proof(db: Session) -> bool:
        return proofs.holds_recovery_code(db, ticket.user_id, code)

    return await _take(visiting, phases, ticket, "rec", proof)


@router.post("/passkey")
async def take_passkey(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """A passkey."""
    ticket = _held(visiting)
    offer = Offer.open(_ring(visiting), SECOND_STEP, ticket.id.bytes, field(fields, "offer"))
    answer = Answer.read(field(fields, "credential", MAX_ANSWER))
    party = RelyingParty.of(visiting.settings.public_url)

    def proof(db: Session) -> bool:
        if offer is None or answer is None:
            return False
        return proofs.holds_passkey(db, party, ticket.user_id, offer, answer)

    return await _take(visiting, phases, ticket, "hwk", proof)


async def _take(visiting: Visit, phases: InPhases, ticket: Ticket, method: str, proof: Proof) -> Response:
    try:
        async with phases.begin(ticket.user_id) as db:
            step = await db.run_sync(_step, visiting, ticket, method, proof)
    except Problem as problem:
        if problem.word not in {"wrong_code", "wrong_passkey"}:
            raise
        return await _page(visiting, phases, ticket, problem)
    return proceed(visiting, step)


def _step(db: Session, visiting: Visit, ticket: Ticket, method: str, proof: Proof) -> Step:
    """Judges the proof, and uses the ticket up. Raises Problem `unauthenticated`."""
    user = db.scalars(people.user(ticket.user_id)).one_or_none()
    if user is None or user.session_version != ticket.session_version:
        raise unauthenticated(OVER)
    if not proof(db):
        word, text = ("wrong_passkey", WRONG_PASSKEY) if method == "hwk" else ("wrong_code", WRONG_CODE)
        raise unauthenticated(text, word)
    if db.scalar(queries.use_ticket(ticket.user_id, ticket.id, ticket.expires_at)) is None:
        raise unauthenticated(OVER)
    proven = Proven.further(ticket, method, "mfa")
    return conclude(db, proven, circumstances(visiting), terms(visiting), ticket.next)


async def _page(visiting: Visit, phases: InPhases, ticket: Ticket, problem: Problem | None = None) -> Response:
    async with phases.begin(ticket.user_id) as db:
        factors = await db.run_sync(service.overview, ticket.user_id)
    values: dict[str, Any] = {"factors": factors, "problem": problem, "options": "", "offer": ""}
    if factors.passkeys:
        offer = Offer.new(CHALLENGE_BYTES)
        values["options"] = RelyingParty.of(visiting.settings.public_url).request(offer.secret, factors.passkeys)
        values["offer"] = offer.seal(_ring(visiting), SECOND_STEP, ticket.id.bytes)
    return visiting.page("people/second_step.html", 200 if problem is None else 401, **values)


def _ticket(visiting: Visit) -> Ticket | None:
    tickets: Tickets = visiting.request.app.state.tickets
    text = visiting.request.cookies.get(TICKET)
    return None if text is None else tickets.read(text)


def _held(visiting: Visit) -> Ticket:
    ticket = _ticket(visiting)
    if ticket is None:
        raise Problem(Kind.unauthenticated, "authentication_failed", OVER)
    return ticket


def _ring(visiting: Visit) -> KeyRing:
    ring: KeyRing = visiting.request.app.state.keyring
    return ring
