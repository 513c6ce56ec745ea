"""The page of a link by which the operator acts as somebody."""

from fastapi import Response

from app.auth.people import set_cookie
from app.auth.phases import InPhases
from app.console.visits import Pages, Posted, Visiting, field
from app.domain.owned_tokens import Token
from app.features.members.errors import link_over
from app.features.sessions import impersonation

PAGE = "/sign-in/impersonation"
OVER = "people/link_over.html"
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, phases: InPhases, token: str = "") -> Response:
    """Asks whether to begin; the link stays good."""
    read = Token.read(token)
    if read is None:
        return visiting.refused(OVER, link_over())
    async with phases.begin(read.owner_id) as db:
        offer = await db.run_sync(impersonation.look, read)
    if offer is None:
        return visiting.refused(OVER, link_over())
    return visiting.page("people/impersonation.html", offer=offer, token=token)


@router.post("")
async def begin(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """Uses the link up, and begins to act as the person."""
    read = Token.read(field(fields, "token"))
    if read is None:
        return visiting.refused(OVER, link_over())
    async with phases.begin(read.owner_id) as db:
        cookie = await db.run_sync(impersonation.begin, read, visiting.where())
    if cookie is None:
        return visiting.refused(OVER, link_over())
    answer = visiting.go("/account")
    set_cookie(answer, cookie)
    return answer
