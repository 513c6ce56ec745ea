"""Signing in by a passkey alone: it says whose it is, and its device verified the person."""

from fastapi import Response

from app.auth.phases import InPhases
from app.console.proving import Challenge, holds_passkey
from app.console.sign_in import circumstances, proceed, terms
from app.console.visits import Pages, Posted, Visit, Visiting, field, local_path
from app.features.factors.offers import Offer
from app.features.factors.passkeys import Answer
from app.features.sign_in import service
from app.features.sign_in.measures import PASSKEY, measure_refused
from app.features.sign_in.service import Proven, Step
from app.kit.errors import Problem, unauthenticated

PAGE = "/sign-in/passkey"
PURPOSE = "passwordless"
WRONG = "The passkey could not be verified: try again, or sign in by your password"
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, next: str | None = None) -> Response:  # noqa: A002 the field's name in links
    """A challenge, which any person's passkey answers."""
    if visiting.person is not None:
        return visiting.go(local_path(next))
    return _page(visiting, local_path(next))


@router.post("")
async def sign_in(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """Takes the answer."""
    next_ = local_path(field(fields, "next"))
    try:
        step = await _prove(visiting, phases, _challenge(visiting).answered(visiting, fields), next_)
    except Problem as problem:
        return _page(visiting, next_, problem)
    return proceed(visiting, step)


async def _prove(visiting: Visit, phases: InPhases, answered: tuple[Offer, Answer] | None, next_: str) -> Step:
    user_id = None if answered is None else answered[1].user_handle
    if user_id is None or not await holds_passkey(visiting, phases, user_id, answered):
        measure_refused(PASSKEY, "failed")
        raise unauthenticated(WRONG, "wrong_passkey")
    async with phases.begin(user_id) as db:
        proven = Proven(user_id, ("hwk", "mfa"))
        return await db.run_sync(service.conclude, proven, circumstances(visiting), terms(visiting), next_)


def _page(visiting: Visit, next_: str, problem: Problem | None = None) -> Response:
    asked = _challenge(visiting).ask(visiting)
    return visiting.answer("people/passkey.html", problem, next=next_, asked=asked)


def _challenge(visiting: Visit) -> Challenge:
    # It is bound to the visit, as the page's form is.
    return Challenge(PURPOSE, visiting.csrf.encode())
