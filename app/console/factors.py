"""A person's second factors: authenticator app, passkeys, recovery codes."""

from functools import partial
from uuid import UUID

from fastapi import Response

from app.auth.people import Enrolling, Person, RecentlyEnrolling, set_cookie
from app.auth.phases import InPhases
from app.console.proving import MAX_ANSWER, party, ring
from app.console.sign_in import circumstances, passwords
from app.console.visits import Pages, Posted, Visit, Visiting, field
from app.domain.passwords import normalised, shortest
from app.features.factors import service, totp
from app.features.factors.offers import Offer
from app.features.factors.passkeys import CHALLENGE_BYTES, Answer
from app.features.factors.service import Act, Done
from app.features.people import queries as people
from app.kit.errors import Kind, Problem, unauthenticated

PAGE = "/account/factors"
ENROL_APP, ENROL_PASSKEY = "enrol-app", "enrol-passkey"
MAX_NAME = 100
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, person: Enrolling, phases: InPhases) -> Response:
    """All of them."""
    async with phases.begin(person.user_id) as db:
        factors = await db.run_sync(service.overview, person.user_id)
    return visiting.page("people/factors.html", factors=factors)


@router.get("/app")
async def offer_app(visiting: Visiting, person: RecentlyEnrolling) -> Response:
    """A secret for the authenticator app, which counts once a code of it comes back."""
    return _app_page(visiting, person, Offer.new(totp.SECRET_BYTES))


@router.post("/app")
async def add_app(visiting: Visiting, person: RecentlyEnrolling, fields: Posted, phases: InPhases) -> Response:
    """Takes the first code."""
    offer = _offered(visiting, person, ENROL_APP, field(fields, "offer"))
    act, code = _act(visiting, person), field(fields, "code")
    try:
        async with phases.begin(person.user_id) as db:
            done = await db.run_sync(service.add_app, act, offer, code)
    except Problem as problem:
        if problem.word != "wrong_code":
            raise
        return _app_page(visiting, person, offer, problem)
    return _done(visiting, done)


@router.post("/app/remove")
async def remove_app(visiting: Visiting, person: RecentlyEnrolling, fields: Posted, phases: InPhases) -> Response:
    """Forgets the authenticator app."""
    safe = await _is_safe_without(visiting, person, phases, field(fields, "password"))
    async with phases.begin(person.user_id) as db:
        done = await db.run_sync(partial(service.remove_app, safe_without=safe), _act(visiting, person))
    return _done(visiting, done)


@router.get("/passkey")
async def offer_passkey(visiting: Visiting, person: RecentlyEnrolling, phases: InPhases) -> Response:
    """A challenge, which the browser answers with a new passkey."""
    async with phases.begin(person.user_id) as db:
        factors = await db.run_sync(service.overview, person.user_id)
    offer = Offer.new(CHALLENGE_BYTES)
    options = party(visiting).creation(offer.secret, person.user_id, person.email, factors.passkeys)
    sealed = offer.seal(ring(visiting), ENROL_PASSKEY, person.session_id.bytes)
    return visiting.page("people/factor_passkey.html", options=options, offer=sealed)


@router.post("/passkey")
async def add_passkey(visiting: Visiting, person: RecentlyEnrolling, fields: Posted, phases: InPhases) -> Response:
    """Takes the new passkey."""
    offer = _offered(visiting, person, ENROL_PASSKEY, field(fields, "offer"))
    answer = Answer.read(field(fields, "credential", MAX_ANSWER))
    if answer is None:
        raise Problem(Kind.bad_request, "bad_request", service.BAD_PASSKEY, word="invalid_passkey")
    name = field(fields, "name", MAX_NAME).strip() or "Passkey"
    async with phases.begin(person.user_id) as db:
        done = await db.run_sync(service.add_passkey, _act(visiting, person), party(visiting), offer, answer, name)
    return _done(visiting, done)


@router.post("/passkey/remove")
async def remove_passkey(visiting: Visiting, person: RecentlyEnrolling, fields: Posted, phases: InPhases) -> Response:
    """Forgets a passkey."""
    passkey_id = _id(field(fields, "passkey"))
    safe = await _is_safe_without(visiting, person, phases, field(fields, "password"))
    async with phases.begin(person.user_id) as db:
        remove = partial(service.remove_passkey, safe_without=safe)
        done = await db.run_sync(remove, _act(visiting, person), passkey_id)
    return _done(visiting, done)


@router.post("/recovery-codes")
async def renew_recovery_codes(
    visiting: Visiting, person: RecentlyEnrolling, _fields: Posted, phases: InPhases
) -> Response:
    """New recovery codes, shown this once; the old ones are void."""
    async with phases.begin(person.user_id) as db:
        done = await db.run_sync(service.renew_recovery_codes, _act(visiting, person))
    return _done(visiting, done)


@router.get("/last")
async def show_last(visiting: Visiting, person: RecentlyEnrolling, phases: InPhases) -> Response:
    """The question before the last factor is removed."""
    async with phases.begin(person.user_id) as db:
        factors = await db.run_sync(service.overview, person.user_id)
        has_password = await db.scalar(people.password(person.user_id)) is not None
    if not factors.one:
        return visiting.go(PAGE)
    return visiting.page("people/factor_last.html", factors=factors, has_password=has_password)


async def _is_safe_without(visiting: Visit, person: Person, phases: InPhases, password: str) -> bool:
    """Whether the person may do without the last factor: whoever has a password shows that it is long enough alone.

    Raises Problem `unauthenticated` (`wrong_password`), `too_many`.
    """
    async with phases.begin(person.user_id) as db:
        factors = await db.run_sync(service.overview, person.user_id)
        has_password = await db.scalar(people.password(person.user_id)) is not None
    if not (factors.one and has_password):
        return not has_password
    if not await passwords(visiting).confirm(phases, person.user_id, password, circumstances(visiting)):
        raise unauthenticated("This is your last factor: give your password, too", "wrong_password")
    return len(normalised(password)) >= shortest(has_mfa=False)


def _act(visiting: Visit, person: Person) -> Act:
    return Act(ring(visiting), person.user_id, person.session_id, visiting.where())


def _done(visiting: Visit, done: Done) -> Response:
    answer = visiting.page("people/recovery_codes.html", codes=done.codes) if done.codes else visiting.go(PAGE)
    set_cookie(answer, done.cookie)
    return answer


def _app_page(visiting: Visit, person: Person, offer: Offer, problem: Problem | None = None) -> Response:
    return visiting.answer(
        "people/factor_app.html",
        problem,
        offer=offer.seal(ring(visiting), ENROL_APP, person.session_id.bytes),
        picture=totp.picture(offer.secret, person.email),
        secret=totp.typed(offer.secret),
    )


def _offered(visiting: Visit, person: Person, purpose: str, text: str) -> Offer:
    offer = Offer.open(ring(visiting), purpose, person.session_id.bytes, text)
    if offer is None:
        raise Problem(Kind.bad_request, "bad_request", service.USED_OFFER, word="used_offer")
    return offer


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Problem(Kind.not_found, "not_found", "Passkey not found") from None
