"""The pages by which people sign in and out."""

from datetime import timedelta

from fastapi import Response

from app.auth.devices import device_of, set_device
from app.auth.people import TICKET, Enrolling, drop_cookie, set_cookie
from app.auth.phases import InPhases
from app.console import realms
from app.console.visits import Pages, Posted, Visit, Visiting, field, local_path
from app.features.sessions import service as sessions
from app.features.sign_in import service
from app.features.sign_in.circumstances import Circumstances
from app.features.sign_in.passwords import Passwords
from app.features.sign_in.service import Begun, Step, Terms
from app.features.sign_in.tickets import Tickets
from app.kit.errors import Problem
from app.kit.places import Places

PAGE = "/sign-in"
SECOND_STEP = f"{PAGE}/second-step"
router = Pages(PAGE)


@router.get("")
async def show(visiting: Visiting, next: str | None = None) -> Response:  # noqa: A002 the field's name in links
    """The form."""
    if visiting.person is not None:
        return visiting.go(local_path(next))
    return visiting.page("people/sign_in.html", next=local_path(next), address="", problem=None)


@router.post("")
async def sign_in(visiting: Visiting, fields: Posted, phases: InPhases) -> Response:
    """The first step, by a password; without one, on to the provider of the address's organisation."""
    address, next_ = field(fields, "email"), local_path(field(fields, "next"))
    password = field(fields, "password")
    try:
        if not password and (path := await realms.seek(visiting, phases, address, next_)):
            return visiting.go(path)
        whence = circumstances(visiting)
        proven = await passwords(visiting).prove(phases, address, password, whence)
        async with phases.begin(proven.user_id) as db:
            step = await db.run_sync(service.conclude, proven, whence, terms(visiting), next_)
    except Problem as problem:
        return visiting.refused("people/sign_in.html", problem, next=next_, address=address)
    return proceed(visiting, step)


@router.post("/out")
async def sign_out(visiting: Visiting, person: Enrolling, _fields: Posted, phases: InPhases) -> Response:
    """Ends this session."""
    async with phases.begin(person.user_id) as db:
        await db.run_sync(sessions.end, person.user_id, person.session_id, visiting.where(), "signed out")
    answer = visiting.go(PAGE)
    drop_cookie(answer)
    return answer


def passwords(visiting: Visit) -> Passwords:
    """What verifies passwords."""
    found: Passwords = visiting.request.app.state.passwords
    return found


def circumstances(visiting: Visit) -> Circumstances:
    """Whence somebody signs in."""
    request, where = visiting.request, visiting.where()
    places: Places = request.app.state.places
    languages = request.headers.get("accept-language", "")
    return Circumstances(where, device_of(request), languages, places.find(where.ip))


def terms(visiting: Visit) -> Terms:
    """What the installation grants to whoever signs in."""
    people = visiting.settings.people
    return Terms(
        lifetime=timedelta(hours=people.session_hours),
        idle=timedelta(minutes=people.idle_minutes),
        sessions=people.sessions,
        step_up_from=people.step_up_from,
        ring=visiting.request.app.state.keyring,
    )


def proceed(visiting: Visit, step: Step) -> Response:
    """On to where the person was going, with the session's cookie; or to the next step, with a ticket to it."""
    if isinstance(step, Begun):
        answer = visiting.go(step.next)
        set_cookie(answer, step.cookie)
        set_device(answer, visiting.request.app.state.keyring, step.device_id)
        answer.delete_cookie(TICKET, path="/", secure=True, httponly=True, samesite="lax")
        return answer
    tickets: Tickets = visiting.request.app.state.tickets
    answer = visiting.page("people/step_up.html", 401) if step.reason == "risk" else visiting.go(SECOND_STEP)
    answer.set_cookie(TICKET, tickets.mint(step), path="/", secure=True, httponly=True, samesite="lax")
    return answer
