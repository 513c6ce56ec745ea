"""The pages on which people arrive: by an invitation, and by a first owner's one-time link."""

from typing import Any

from fastapi import Response

from app.auth.people import InPerson, set_cookie
from app.auth.phases import InPhases
from app.console.password import hasher
from app.console.sign_in import circumstances, proceed, terms
from app.console.visits import Pages, Posted, Visit, Visiting, field
from app.domain.owned_tokens import Token
from app.features.accounts.passwords import Rules, hashed
from app.features.members import arrivals
from app.features.members.arrivals import Invited, Newcomer
from app.features.members.errors import invalid_token, link_over
from app.features.sessions import operations as sessions
from app.features.sign_in.service import Proven, conclude
from app.kit.errors import Problem, invalid, unauthenticated

PAGE = "/invitation"
LINK = "/sign-in/link"
MEMBERS = "/organisation/members"
MOST_NAME = 128
INVITATION, OVER, FIRST = "people/invitation.html", "people/link_over.html", "people/first_sign_in.html"
router = Pages(PAGE)
links = Pages(LINK)


@router.get("")
async def show(visiting: Visiting, phases: InPhases, token: str = "") -> Response:
    """What is offered to whom; nothing happens yet."""
    try:
        return _offer(visiting, token, await _invited(phases, _read(token)))
    except Problem as problem:
        return visiting.refused(OVER, problem)


@router.post("")
async def accept(visiting: Visiting, person: InPerson, fields: Posted, phases: InPhases) -> Response:
    """Lets in whoever is signed in as the one who was invited. The session goes on under another secret."""
    token = _read(field(fields, "token"))
    async with phases.begin(token.owner_id, person.user_id) as db:
        await db.run_sync(arrivals.accept, token, person.user_id, person.session_id, visiting.where())
        cookie = await db.run_sync(sessions.renew, person.user_id, person.session_id)
    if cookie is None:
        raise unauthenticated("Sign in first")
    answer = visiting.go(MEMBERS)
    set_cookie(answer, cookie)
    return answer


@router.post("/join")
async def join(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """Takes name and password of somebody who is not known yet, and signs them in."""
    text = field(fields, "token")
    token, name = _read(text), field(fields, "name")
    offer = await _invited(phases, token)
    try:
        newcomer = await _newcomer(visiting, name, field(fields, "password"), offer.rules(name))
    except Problem as problem:
        return _offer(visiting, text, offer, problem, name)
    async with phases.begin(token.owner_id) as db:
        user_id = await db.run_sync(arrivals.join_as_newcomer, token, newcomer)
        proven = Proven(user_id, ("mail", "pwd"))
        step = await db.run_sync(conclude, proven, circumstances(visiting), terms(visiting), "/account")
    return proceed(visiting, step)


@links.get("")
async def show_first(visiting: Visiting, phases: InPhases, token: str = "") -> Response:
    """Asks whoever holds the link for a name and a password; the link stays good."""
    try:
        address, rules = await _expected(phases, _read_link(token))
    except Problem as problem:
        return visiting.refused(OVER, problem)
    return visiting.page(FIRST, problem=None, token=token, address=address, shortest=rules.shortest, name="")


@links.post("")
async def sign_in_first(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """Uses the link up: takes name and password, and signs the person in."""
    text, name = field(fields, "token"), field(fields, "name")
    token = _read_link(text)
    address, rules = await _expected(phases, token)
    try:
        newcomer = await _newcomer(visiting, name, field(fields, "password"), rules)
    except Problem as problem:
        return visiting.refused(FIRST, problem, token=text, address=address, shortest=rules.shortest, name=name)
    async with phases.begin(token.owner_id) as db:
        await db.run_sync(arrivals.sign_in_first, token, newcomer)
        proven = Proven(token.owner_id, ("link", "pwd"))
        step = await db.run_sync(conclude, proven, circumstances(visiting), terms(visiting), "/account")
    return proceed(visiting, step)


def _offer(visiting: Visit, text: str, offer: Invited, problem: Problem | None = None, name: str = "") -> Response:
    person = visiting.person
    is_theirs = person is not None and person.user_id == offer.user_id
    values: dict[str, Any] = {
        "offer": offer,
        "token": text,
        "is_theirs": is_theirs,
        "name": name,
        "shortest": offer.rules("").shortest,
    }
    if problem is not None:
        return visiting.refused(INVITATION, problem, **values)
    return visiting.page(INVITATION, problem=None, **values)


async def _newcomer(visiting: Visit, name: str, password: str, rules: Rules) -> Newcomer:
    """What the newcomer chose. Raises Problem `invalid`."""
    if not name.strip() or len(name) > MOST_NAME or not name.isprintable():
        raise invalid("name", f"Say what you are called, in at most {MOST_NAME} characters", type_="no_name")
    return Newcomer(name.strip(), await hashed(hasher(visiting), password, rules), visiting.where())


async def _invited(phases: InPhases, token: Token) -> Invited:
    async with phases.begin(token.owner_id) as db:
        return await db.run_sync(arrivals.invited, token)


async def _expected(phases: InPhases, token: Token) -> tuple[str, Rules]:
    async with phases.begin(token.owner_id) as db:
        user, rules = await db.run_sync(arrivals.expected, token)
        return user.email, rules


def _read(text: str) -> Token:
    token = Token.read(text)
    if token is None:
        raise invalid_token()
    return token


def _read_link(text: str) -> Token:
    token = Token.read(text)
    if token is None:
        raise link_over()
    return token
