"""The page on which a person changes its password."""

from fastapi import Response
from sqlalchemy.orm import Session

from app.auth.people import Person, RecentlySignedIn, set_cookie
from app.auth.phases import InPhases
from app.console.password import hasher, ring
from app.console.sign_in import circumstances, passwords
from app.console.visits import Pages, Posted, Visit, Visiting, field
from app.features.accounts import service
from app.features.accounts.passwords import Rules, hashed
from app.features.accounts.service import Act
from app.features.people import queries as people
from app.kit.errors import Problem, unauthenticated

PAGE = "/account/password"
TEMPLATE = "people/account_password.html"
WRONG = "That is not your current password"
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, person: RecentlySignedIn, phases: InPhases, done: str = "") -> Response:
    """The form."""
    rules, has_password = await _look(phases, person)
    return visiting.page(TEMPLATE, problem=None, done=done, shortest=rules.shortest, has_password=has_password)


@router.post("")
async def change(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Changes it, for whoever knows the current one, and ends the other sessions where that is wanted."""
    rules, has_password = await _look(phases, person)
    try:
        if has_password:
            await _require_current(visiting, phases, person, field(fields, "current"))
        new = await hashed(hasher(visiting), field(fields, "password"), rules)
    except Problem as problem:
        return visiting.refused(TEMPLATE, problem, done="", shortest=rules.shortest, has_password=has_password)
    cookie = await _change(visiting, phases, person, new, end_others=field(fields, "end_others") == "yes")
    answer = visiting.go(f"{PAGE}?done=yes")
    set_cookie(answer, cookie)
    return answer


async def _require_current(visiting: Visit, phases: InPhases, person: Person, password: str) -> None:
    if not await passwords(visiting).confirm(phases, person.user_id, password, circumstances(visiting)):
        raise unauthenticated(WRONG, "wrong_password")


async def _change(visiting: Visit, phases: InPhases, person: Person, new: str, *, end_others: bool) -> str:
    act = Act(person.user_id, visiting.where(), ring(visiting))

    def change(db: Session) -> str:
        return service.change_password(db, act, new, person.session_id, end_others=end_others)

    async with phases.begin(person.user_id) as db:
        return await db.run_sync(change)


async def _look(phases: InPhases, person: Person) -> tuple[Rules, bool]:
    async with phases.begin(person.user_id) as db:
        rules = await db.run_sync(service.rules, person.user_id)
        return rules, await db.scalar(people.password(person.user_id)) is not None
