"""Showing once more that one is there, as dangerous acts ask for it: by all that the person has."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import Response
from sqlalchemy.orm import Session

from app.auth.people import Enrolling, Person, set_cookie
from app.auth.phases import InPhases
from app.console.proving import WRONG_PASSKEY, Challenge, holds_code, holds_passkey, ring
from app.console.sign_in import circumstances, passwords
from app.console.visits import Pages, Posted, Visit, Visiting, field, local_path
from app.features.factors import mailed_codes, proofs, service
from app.features.factors.service import Factors
from app.features.people import queries as people
from app.features.sign_in.again import show_again
from app.features.sign_in.measures import measure_refused
from app.features.sign_in.throttle import SECOND_STEP
from app.kit.errors import Problem, unauthenticated

PAGE = "/sign-in/again"
PURPOSE = "again"
WRONG = "That is not right: try again"
SHOWN = frozenset({"wrong_proof", "wrong_passkey", "throttled", "stopped"})
"""Refusals after which the page is shown again."""
router = Pages(PAGE)


@dataclass(frozen=True, slots=True)
class Means:
    """What a person can show."""

    password: bool
    factors: Factors

    @property
    def some(self) -> bool:
        """Whether there is anything but the person's mail."""
        return self.password or self.factors.some


@router.get("")
async def show(visiting: Visiting, person: Enrolling, phases: InPhases, next: str | None = None) -> Response:  # noqa: A002 the field's name in links
    """What the person may show."""
    return await _page(visiting, person, phases, local_path(next))


@router.post("")
async def by_password(visiting: Visiting, person: Enrolling, fields: Posted, phases: InPhases) -> Response:
    """By the password, and beside it by a code where there is a second factor."""

    async def prove() -> Sequence[str]:
        means = await _means(phases, person)
        first = await _first(visiting, person, phases, means, field(fields, "password"))
        if not means.factors.some:
            return first
        second = await _second(visiting, person, phases, field(fields, "code"))
        return (*first, second, "mfa") if first else (second,)

    return await _take(visiting, person, phases, fields, prove)


@router.post("/passkey")
async def by_passkey(visiting: Visiting, person: Enrolling, fields: Posted, phases: InPhases) -> Response:
    """By a passkey."""

    async def prove() -> Sequence[str]:
        answered = _challenge(person).answered(visiting, fields)
        if not await holds_passkey(visiting, phases, person.user_id, answered):
            measure_refused(SECOND_STEP, "failed")
            raise unauthenticated(WRONG_PASSKEY, "wrong_passkey")
        return ("hwk", "mfa")

    return await _take(visiting, person, phases, fields, prove)


@router.post("/mail")
async def mail_code(visiting: Visiting, person: Enrolling, fields: Posted, phases: InPhases) -> Response:
    """Mails a code to who has nothing else to show."""
    next_ = local_path(field(fields, "next"))
    try:
        await _require_nothing_else(phases, person)
        async with phases.begin(person.user_id) as db:
            user = (await db.scalars(people.user(person.user_id))).one()
            await db.run_sync(mailed_codes.send, ring(visiting), user, person.session_id)
    except Problem as problem:
        return await _again(visiting, person, phases, next_, problem)
    return await _page(visiting, person, phases, next_, mailed=True)


@router.post("/mailed-code")
async def by_mailed_code(visiting: Visiting, person: Enrolling, fields: Posted, phases: InPhases) -> Response:
    """By the code that was mailed."""
    code = field(fields, "mailed_code")

    def proof(db: Session) -> bool:
        return mailed_codes.holds(db, ring(visiting), person.user_id, person.session_id, code)

    async def prove() -> Sequence[str]:
        await _require_nothing_else(phases, person)
        if not await holds_code(visiting, phases, person.user_id, proof):
            raise _wrong()
        return ("mail",)

    return await _take(visiting, person, phases, fields, prove)


async def _take(
    visiting: Visit, person: Person, phases: InPhases, fields: Posted, prove: Callable[[], Awaitable[Sequence[str]]]
) -> Response:
    """On to where the person was going, by methods that `prove` tells. It raises Problem for what proves nothing."""
    next_ = local_path(field(fields, "next"))
    try:
        methods = await prove()
        async with phases.begin(person.user_id) as db:
            cookie = await db.run_sync(show_again, person.user_id, person.session_id, methods, visiting.where())
    except Problem as problem:
        return await _again(visiting, person, phases, next_, problem)
    answer = visiting.go(next_)
    set_cookie(answer, cookie)
    return answer


async def _first(visiting: Visit, person: Person, phases: InPhases, means: Means, password: str) -> tuple[str, ...]:
    """The password as a method; nothing where a factor is all that there is."""
    if not means.password and means.factors.some:
        return ()
    if not await passwords(visiting).confirm(phases, person.user_id, password, circumstances(visiting)):
        raise _wrong()
    return ("pwd",)


async def _second(visiting: Visit, person: Person, phases: InPhases, code: str) -> str:
    """A code's method: it is the app's, or a recovery code."""
    found = list[str]()

    def proof(db: Session) -> bool:
        if proofs.holds_app(db, ring(visiting), person.user_id, code):
            found.append("otp")
        elif proofs.holds_recovery_code(db, person.user_id, code):
            found.append("rec")
        return bool(found)

    if not await holds_code(visiting, phases, person.user_id, proof):
        raise _wrong()
    return found[0]


async def _require_nothing_else(phases: InPhases, person: Person) -> None:
    if (await _means(phases, person)).some:
        raise _wrong()


async def _means(phases: InPhases, person: Person) -> Means:
    async with phases.begin(person.user_id) as db:
        password = await db.scalar(people.password(person.user_id))
        factors = await db.run_sync(service.overview, person.user_id)
    return Means(password is not None, factors)


async def _again(visiting: Visit, person: Person, phases: InPhases, next_: str, problem: Problem) -> Response:
    if problem.word not in SHOWN:
        raise problem
    return await _page(visiting, person, phases, next_, problem)


async def _page(
    visiting: Visit,
    person: Person,
    phases: InPhases,
    next_: str,
    problem: Problem | None = None,
    *,
    mailed: bool = False,
) -> Response:
    means = await _means(phases, person)
    asked = _challenge(person).ask(visiting, means.factors.passkeys)
    return visiting.answer("people/again.html", problem, means=means, next=next_, mailed=mailed, asked=asked)


def _challenge(person: Person) -> Challenge:
    return Challenge(PURPOSE, person.session_id.bytes)


def _wrong() -> Problem:
    return unauthenticated(WRONG, "wrong_proof")
