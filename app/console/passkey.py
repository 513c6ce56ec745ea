"""Signing in by a passkey alone: it says whose it is, and its device verified the person."""

from fastapi import Response

from app.auth.phases import InPhases
from app.console.sign_in import circumstances, proceed, terms
from app.console.visits import Pages, Posted, Visit, Visiting, field, local_path
from app.features.factors import proofs
from app.features.factors.offers import Offer
from app.features.factors.passkeys import CHALLENGE_BYTES, Answer, RelyingParty
from app.features.sign_in import service
from app.features.sign_in.service import Proven
from app.kit.errors import Problem, unauthenticated

PAGE = "/sign-in/passkey"
PASSWORDLESS = "passwordless"
MAX_ANSWER = 16 * 1024
WRONG = "The passkey could not be verified: try again, or sign in by your password"
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, next: str | None = None) -> Response:  # noqa: A002 the field's name in links
    """A challenge, which any person's passkey answers."""
    return visiting.go(local_path(next)) if visiting.person is not None else _page(visiting, local_path(next))


@router.post("")
async def sign_in(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """Takes the answer."""
    next_ = local_path(field(fields, "next"))
    offer = Offer.open(visiting.request.app.state.keyring, PASSWORDLESS, _owner(visiting), field(fields, "offer"))
    answer = Answer.read(field(fields, "credential", MAX_ANSWER))
    try:
        if offer is None or answer is None or answer.user_handle is None:
            raise unauthenticated(WRONG)
        async with phases.begin(answer.user_handle) as db:
            party = RelyingParty.of(visiting.settings.public_url)
            if not await db.run_sync(proofs.holds_passkey, party, answer.user_handle, offer, answer):
                raise unauthenticated(WRONG)
            proven = Proven(answer.user_handle, ("hwk", "mfa"))
            step = await db.run_sync(service.conclude, proven, circumstances(visiting), terms(visiting), next_)
    except Problem as problem:
        return _page(visiting, next_, problem)
    return proceed(visiting, step)


def _page(visiting: Visit, next_: str, problem: Problem | None = None) -> Response:
    offer = Offer.new(CHALLENGE_BYTES)
    return visiting.page(
        "people/passkey.html",
        200 if problem is None else 401,
        next=next_,
        problem=problem,
        options=RelyingParty.of(visiting.settings.public_url).request(offer.secret),
        offer=offer.seal(visiting.request.app.state.keyring, PASSWORDLESS, _owner(visiting)),
    )


def _owner(visiting: Visit) -> bytes:
    """What the challenge is bound to: the visit, as its forms are."""
    return visiting.csrf.encode()
