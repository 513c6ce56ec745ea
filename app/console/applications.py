"""The programs that a person has allowed something, and what was allowed."""

from fastapi import Response

from app.auth.people import InPerson, SignedIn
from app.auth.phases import InPhases
from app.console.visits import Pages, Posted, Visiting, field
from app.domain.ids import decode
from app.features.oauth import applications
from app.features.oauth.errors import CLIENT
from app.kit.errors import not_found

PAGE = "/account/applications"
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, person: SignedIn, phases: InPhases) -> Response:
    """All of them."""
    async with phases.begin(person.user_id) as db:
        found = await db.run_sync(applications.of, person.user_id)
    return visiting.page("people/applications.html", applications=found)


@router.post("/withdraw")
async def withdraw(visiting: Visiting, person: InPerson, fields: Posted, phases: InPhases) -> Response:
    """Takes back all that one was allowed; its tokens are refused from now on."""
    client_id = decode(CLIENT, field(fields, "client"))
    if client_id is None:
        raise not_found("Application")
    async with phases.begin(person.user_id) as db:
        await db.run_sync(applications.withdraw, person.user_id, client_id, visiting.where())
    return visiting.go(PAGE)
