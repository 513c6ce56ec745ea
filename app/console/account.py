"""A person's own pages."""

from fastapi import Response

from app.auth.people import SignedIn
from app.console.visits import Pages, Visiting

PAGE = "/account"
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, person: SignedIn) -> Response:
    """The overview."""
    return visiting.page("people/account.html", heading=person.name or person.email)
