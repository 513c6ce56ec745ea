"""Showing once more that one is there, as dangerous acts ask for it: by all that the person has."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Response
from sqlalchemy.orm import Session

from app.auth.people import Enrolling, Person, set_cookie
from app.auth.phases import InPhases
from app.console.visits import Pages, Posted, Visit, Visiting, field, local_path
from app.features.factors import mailed_codes, proofs, service
from app.features.factors.offers import Offer
from app.features.factors.passkeys import CHALLENGE_BYTES, Answer, RelyingParty
from app.features.factors.service import Factors
from app.features.people import queries as people
from app.features.sign_in.again import show_again
from app.kit.encryption import KeyRing
from app.kit.errors import Problem, unauthenticated
from app.kit.hashing import Hasher

PAGE = "/sign-in/again"
AGAIN = "again"
MAX_ANSWER = 16 * 1024
WRONG = "That is not right: try again"
router = Pages(PAGE)

Proof = Callable[[Session], Sequence[str]]
"""The methods that were proven; none for what is wrong."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a person can show."""

    password: str | None
    factors: Factors

    @property
    def some(self) -> bool:
        """Whether there is anything but the person's mail."""
        return self.password is not None or self.factors.some


@router.get("")
async def show(visiting: Visiting, person: Enrolling, phases: InPhases, next: str | None = None) -> Response:  # noqa: A002 the field's name in links
    """What the person may show."""
    return _page(visiting, person, await _means(phases, person), local_path(next))


@router.post("")
async def by_password(visiting: Visiting, person: Enrolling, fields: Posted, phases: InPhases) -> Response:
    """By the password, and beside it by a code where there is a second factor."""
    means, code = await _means(phases, person), field(fields, "code")
    hasher: Hasher = visiting.request.app.state.hasher
    knows = await hasher.verify(means.password, field(fields, "password")) if means.password else False

    def proof(db: Session) -> Sequence[str]:
        if means.password is not None and not knows:
            return ()
        first = ("pwd",) if knows else ()
        if not means.factors.some:
            return first
        second = _second(db, _ring(visiting), person, code)
        if second is None:
            return ()
        return (*first, second, "mfa") if first else (second,)

    return await _take(visiting, person, phases, fields, proof)


@router.post("/passkey")
async def by_passkey(visiting: Visiting, person: Enrolling, fields: Posted, phases: InPhases) -> Response:
    """By a passkey."""
    offer = Offer.open(_ring(visiting), AGAIN, person.session_id.bytes, field(fields, "offer"))
    answer = Answer.read(field(fields, "credential", MAX_ANSWER))
    party = RelyingParty.of(visiting.settings.public_url)

    def proof(db: Session) -> Sequence[str]:
        if offer is None or answer is None:
            return ()
        return ("hwk", "mfa") if proofs.holds_passkey(db, party, person.user_id, offer, answer) else ()

    return await _take(visiting, person, phases, fields, proof)


@router.post("/mail")
async def mail_code(visiting: Visiting, person: Enrolling, fields: Posted, phases: InPhases) -> Response:
    """Mails a code to who has nothing else to show."""
    means, next_ = await _means(phases, person), local_path(field(fields, "next"))
    if not means.some:
        async with phases.begin(person.user_id) as db:
            user = (await db.scalars(people.user(person.user_id))).one()
            await db.run_sync(mailed_codes.send, _ring(visiting), user, person.session_id)
    return _page(visiting, person, means, next_, mailed=True)


@router.post("/mailed-code")
async def by_mailed_code(visiting: Visiting, person: Enrolling, fields: Posted, phases: InPhases) -> Response:
    """By the code that was mailed."""
    means, code = await _means(phases, person), field(fields, "mailed_code")

    def proof(db: Session) -> Sequence[str]:
        ring = _ring(visiting)
        good = not means.some and mailed_codes.holds(db, ring, person.user_id, person.session_id, code)
        return ("mail",) if good else ()

    return await _take(visiting, person, phases, fields, proof)


async def _take(visiting: Visit, person: Person, phases: InPhases, fields: Posted, proof: Proof) -> Response:
    next_ = local_path(field(fields, "next"))
    try:
        async with phases.begin(person.user_id) as db:
            cookie = await db.run_sync(_judge, visiting, person, proof)
    except Problem as problem:
        if problem.word != "wrong_proof":
            raise
        return _page(visiting, person, await _means(phases, person), next_, problem)
    answer = visiting.go(next_)
    set_cookie(answer, cookie)
    return answer


def _judge(db: Session, visiting: Visit, person: Person, proof: Proof) -> str:
    methods = proof(db)
    if not methods:
        raise unauthenticated(WRONG, "wrong_proof")
    return show_again(db, person.user_id, person.session_id, methods, visiting.where())


def _second(db: Session, ring: KeyRing, person: Person, code: str) -> str | None:
    if proofs.holds_app(db, ring, person.user_id, code):
        return "otp"
    return "rec" if proofs.holds_recovery_code(db, person.user_id, code) else None


async def _means(phases: InPhases, person: Person) -> Means:
    async with phases.begin(person.user_id) as db:
        password = await db.scalar(people.password(person.user_id))
        factors = await db.run_sync(service.overview, person.user_id)
    return Means(None if password is None else password.hash, factors)


def _page(
    visiting: Visit, person: Person, means: Means, next_: str, problem: Problem | None = None, *, mailed: bool = False
) -> Response:
    values: dict[str, Any] = {"means": means, "next": next_, "problem": problem, "mailed": mailed}
    offer = Offer.new(CHALLENGE_BYTES)
    known = means.factors.passkeys
    values["options"] = RelyingParty.of(visiting.settings.public_url).request(offer.secret, known)
    values["offer"] = offer.seal(_ring(visiting), AGAIN, person.session_id.bytes)
    return visiting.page("people/again.html", 200 if problem is None else 401, **values)


def _ring(visiting: Visit) -> KeyRing:
    ring: KeyRing = visiting.request.app.state.keyring
    return ring
