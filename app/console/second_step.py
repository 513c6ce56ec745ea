"""The second step of signing in, by whatever the person has; to who has nothing a code is mailed."""

from collections.abc import Awaitable, Callable

from fastapi import Response
from sqlalchemy.orm import Session

from app.auth.people import TICKET
from app.auth.phases import InPhases
from app.console.proving import WRONG_CODE, WRONG_PASSKEY, Challenge, holds_code, holds_passkey, ring
from app.console.sign_in import circumstances, proceed, terms
from app.console.visits import Pages, Posted, Visit, Visiting, field
from app.features.factors import mailed_codes, proofs, queries, service
from app.features.factors.service import Factors
from app.features.people import queries as people
from app.features.sign_in.measures import measure_refused
from app.features.sign_in.service import Proven, Step, conclude
from app.features.sign_in.throttle import SECOND_STEP
from app.features.sign_in.tickets import Ticket, Tickets
from app.kit.errors import Problem, unauthenticated

PAGE = "/sign-in/second-step"
PURPOSE = "second-step"
OVER = "This sign-in took too long, or is done already: begin again"
SHOWN = frozenset({"wrong_code", "wrong_passkey", "throttled", "stopped"})
"""Refusals after which the page is shown again."""
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, phases: InPhases) -> Response:
    """What the person may show."""
    ticket = _ticket(visiting)
    if ticket is not None:
        return await _page(visiting, phases, ticket)
    answer = visiting.go("/sign-in")
    answer.delete_cookie(TICKET, path="/", secure=True, httponly=True, samesite="lax")
    return answer


@router.post("")
async def take_app_code(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """A code of the authenticator app."""
    ticket, code = _held(visiting), field(fields, "code")

    def proof(db: Session) -> bool:
        return proofs.holds_app(db, ring(visiting), ticket.user_id, code)

    return await _take_code(visiting, phases, ticket, ("otp", "mfa"), proof)


@router.post("/recovery-code")
async def take_recovery_code(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """A recovery code."""
    ticket, code = _held(visiting), field(fields, "recovery_code")

    def proof(db: Session) -> bool:
        return proofs.holds_recovery_code(db, ticket.user_id, code)

    return await _take_code(visiting, phases, ticket, ("rec", "mfa"), proof)


@router.post("/passkey")
async def take_passkey(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """A passkey."""
    ticket = _held(visiting)

    async def prove() -> None:
        answered = _challenge(ticket).answered(visiting, fields)
        if not await holds_passkey(visiting, phases, ticket.user_id, answered):
            measure_refused(SECOND_STEP, "failed")
            raise unauthenticated(WRONG_PASSKEY, "wrong_passkey")

    return await _take(visiting, phases, ticket, ("hwk", "mfa"), prove)


@router.post("/mail")
async def mail_code(visiting: Visiting, _fields: Posted, phases: InPhases) -> Response:
    """Mails a code to who has no factor."""
    ticket = _held(visiting)
    try:
        async with phases.begin(ticket.user_id) as db:
            await db.run_sync(_mail, visiting, ticket)
    except Problem as problem:
        return await _again(visiting, phases, ticket, problem)
    return await _page(visiting, phases, ticket, mailed=True)


@router.post("/mailed-code")
async def take_mailed_code(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """The code that was mailed."""
    ticket, code = _held(visiting), field(fields, "mailed_code")

    def proof(db: Session) -> bool:
        return mailed_codes.holds(db, ring(visiting), ticket.user_id, ticket.id, code)

    return await _take_code(visiting, phases, ticket, ("mail",), proof)


async def _take_code(
    visiting: Visit, phases: InPhases, ticket: Ticket, methods: tuple[str, ...], proof: Callable[[Session], bool]
) -> Response:
    async def prove() -> None:
        if not await holds_code(visiting, phases, ticket.user_id, proof):
            raise unauthenticated(WRONG_CODE, "wrong_code")

    return await _take(visiting, phases, ticket, methods, prove)


async def _take(
    visiting: Visit, phases: InPhases, ticket: Ticket, methods: tuple[str, ...], prove: Callable[[], Awaitable[None]]
) -> Response:
    try:
        async with phases.begin(ticket.user_id) as db:
            await db.run_sync(_require_open, ticket)
        await prove()
        async with phases.begin(ticket.user_id) as db:
            step = await db.run_sync(_step, visiting, ticket, methods)
    except Problem as problem:
        return await _again(visiting, phases, ticket, problem)
    return proceed(visiting, step)


def _require_open(db: Session, ticket: Ticket) -> None:
    user = db.scalars(people.user(ticket.user_id)).one_or_none()
    is_used = db.scalar(queries.used_ticket(ticket.user_id, ticket.id)) is not None
    if is_used or user is None or user.session_version != ticket.session_version:
        raise unauthenticated(OVER)


def _step(db: Session, visiting: Visit, ticket: Ticket, methods: tuple[str, ...]) -> Step:
    """Uses the ticket up. Raises Problem `unauthenticated`."""
    _require_open(db, ticket)
    if db.scalar(queries.use_ticket(ticket.user_id, ticket.id, ticket.expires_at)) is None:
        raise unauthenticated(OVER)
    if "rec" in methods:
        service.tell_of_recovery_code(db, ring(visiting), ticket.user_id)
    return conclude(db, Proven.further(ticket, *methods), circumstances(visiting), terms(visiting), ticket.next)


def _mail(db: Session, visiting: Visit, ticket: Ticket) -> None:
    _require_open(db, ticket)
    if not _gets_mail(ticket, service.overview(db, ticket.user_id)):
        raise unauthenticated("Show your second factor instead", "mfa_required")
    user = db.scalars(people.user(ticket.user_id)).one()
    mailed_codes.send(db, ring(visiting), user, ticket.id)


def _gets_mail(ticket: Ticket, factors: Factors) -> bool:
    """Whether a mailed code answers: a risk does, where there is no factor."""
    return ticket.reason == "risk" and not factors.some


async def _again(visiting: Visit, phases: InPhases, ticket: Ticket, problem: Problem) -> Response:
    if problem.word not in SHOWN:
        raise problem
    return await _page(visiting, phases, ticket, problem)


async def _page(
    visiting: Visit, phases: InPhases, ticket: Ticket, problem: Problem | None = None, *, mailed: bool = False
) -> Response:
    async with phases.begin(ticket.user_id) as db:
        factors = await db.run_sync(service.overview, ticket.user_id)
    return visiting.answer(
        "people/second_step.html",
        problem,
        asked=_challenge(ticket).ask(visiting, factors.passkeys),
        factors=factors,
        by_mail=_gets_mail(ticket, factors),
        mailed=mailed,
    )


def _challenge(ticket: Ticket) -> Challenge:
    return Challenge(PURPOSE, ticket.id.bytes)


def _ticket(visiting: Visit) -> Ticket | None:
    tickets: Tickets = visiting.request.app.state.tickets
    text = visiting.request.cookies.get(TICKET)
    return None if text is None else tickets.read(text)


def _held(visiting: Visit) -> Ticket:
    ticket = _ticket(visiting)
    if ticket is None:
        raise unauthenticated(OVER)
    return ticket
