"""The pages by which whoever forgot its password chooses a new one."""

from fastapi import Response

from app.auth.phases import InPhases
from app.console.sign_in import circumstances, proceed, terms
from app.console.visits import Pages, Posted, Visit, Visiting, field
from app.domain import email
from app.domain.owned_tokens import Token
from app.features.accounts import service
from app.features.accounts.passwords import Rules, hashed
from app.features.accounts.service import Act
from app.features.people import queries as people
from app.features.sign_in.service import Proven, conclude
from app.features.sign_in.throttle import Throttle, account_of
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem
from app.kit.hashing import Hasher
from app.kit.pace import lasting

PAGE = "/password"
FORGOTTEN, RESET = "people/password_forgotten.html", "people/password_reset.html"
ASKED_SECONDS = 0.3
"""Longer than it takes to queue a letter: whether one was queued does not show."""
router = Pages(PAGE)


@router.get("/forgotten")
async def show_forgotten(visiting: Visiting) -> Response:
    """Asks for the address."""
    return visiting.page(FORGOTTEN, problem=None, asked=False)


@router.post("/forgotten")
async def ask(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """Mails a link to the address, if somebody has it; the answer is the same, and takes the same time."""
    try:
        async with lasting(ASKED_SECONDS):
            await _ask(visiting, phases, field(fields, "email"))
    except Problem as problem:
        return visiting.refused(FORGOTTEN, problem, asked=False)
    return visiting.page(FORGOTTEN, 202, problem=None, asked=True)


@router.get("/reset")
async def show_reset(visiting: Visiting, phases: InPhases, token: str = "") -> Response:
    """Asks for the new password, for a link that is good; the link stays so."""
    _, rules = await _resettable(phases, token)
    return visiting.page(RESET, problem=None, token=token, shortest=rules.shortest)


@router.post("/reset")
async def reset(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """Takes the new password, and signs in whoever needs no second step."""
    text = field(fields, "token")
    token, rules = await _resettable(phases, text)
    try:
        new = await hashed(hasher(visiting), field(fields, "password"), rules)
    except Problem as problem:
        return visiting.refused(RESET, problem, token=text, shortest=rules.shortest)
    async with phases.begin(token.owner_id) as db:
        await db.run_sync(service.reset_password, act(visiting, token), token, new)
        proven = Proven(token.owner_id, ("mail",))
        step = await db.run_sync(conclude, proven, circumstances(visiting), terms(visiting), "/account")
    return proceed(visiting, step)


async def _ask(visiting: Visit, phases: InPhases, address: str) -> None:
    key = email.key(address)
    if key is None:
        raise Problem(Kind.invalid, "invalid", "That is no mail address", word="no_address")
    async with phases.begin() as db:
        user_id = await db.scalar(people.find_user(key))
    throttle: Throttle = visiting.request.app.state.throttle
    is_sent = await throttle.admit_letter(account_of(ring(visiting), user_id, key), visiting.where())
    if is_sent and user_id is not None:
        async with phases.begin(user_id) as db:
            await db.run_sync(service.ask_reset, Act(user_id, visiting.where(), ring(visiting)))


async def _resettable(phases: InPhases, text: str) -> tuple[Token, Rules]:
    token = read_token(text)
    async with phases.begin(token.owner_id) as db:
        return token, await db.run_sync(service.resettable, token)


def read_token(text: str) -> Token:
    """The token of a link. Raises Problem `bad_request`."""
    token = Token.read(text)
    if token is None:
        raise service.link_over()
    return token


def act(visiting: Visit, token: Token) -> Act:
    """What the holder of a link does."""
    return Act(token.owner_id, visiting.where(), ring(visiting))


def ring(visiting: Visit) -> KeyRing:
    """The installation's keys."""
    found: KeyRing = visiting.request.app.state.keyring
    return found


def hasher(visiting: Visit) -> Hasher:
    """What hashes passwords."""
    found: Hasher = visiting.request.app.state.hasher
    return found
