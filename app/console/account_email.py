"""The pages on which a person changes its mail address."""

from fastapi import Response

from app.auth.people import RecentlySignedIn
from app.auth.phases import InPhases
from app.console.password import ASKED_SECONDS, act, read_token, ring
from app.console.visits import Pages, Posted, Visiting, field
from app.features.accounts import service
from app.features.accounts.service import Act
from app.features.sign_in.throttle import Throttle
from app.kit.errors import Problem
from app.kit.pace import lasting

PAGE = "/account/email"
TEMPLATE, CONFIRM = "people/account_email.html", "people/account_email_confirm.html"
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, person: RecentlySignedIn) -> Response:
    """The form."""
    return visiting.page(TEMPLATE, problem=None, address=person.email, asked="")


@router.post("")
async def ask(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Mails a link to the new address; until it is opened, the old one counts."""
    wanted = field(fields, "email")
    throttle: Throttle = visiting.request.app.state.throttle
    try:
        await throttle.admit_address(person.user_id, visiting.where())
        async with lasting(ASKED_SECONDS), phases.begin(person.user_id) as db:
            doing = Act(person.user_id, visiting.where(), ring(visiting))
            await db.run_sync(service.ask_email_change, doing, wanted)
    except Problem as problem:
        return visiting.refused(TEMPLATE, problem, address=person.email, asked="")
    return visiting.page(TEMPLATE, 202, problem=None, address=person.email, asked=wanted.strip())


@router.get("/confirm")
async def show_confirmation(visiting: Visiting, phases: InPhases, token: str = "") -> Response:
    """Asks once more, for a link that is good: programs that look into mail change nothing."""
    read = read_token(token)
    async with phases.begin(read.owner_id) as db:
        old, new = await db.run_sync(service.email_change, read)
    return visiting.page(CONFIRM, problem=None, token=token, old=old, new=new, done=False)


@router.post("/confirm")
async def confirm(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """Makes the new address the person's own."""
    read = read_token(field(fields, "token"))
    async with phases.begin(read.owner_id) as db:
        _, new = await db.run_sync(service.email_change, read)
        await db.run_sync(service.change_email, act(visiting, read), read)
    return visiting.page(CONFIRM, problem=None, token="", old="", new=new, done=True)
