"""The pages by which applications sign people out."""

from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse

from app.auth.people import Person, drop_cookie
from app.auth.phases import InPhases, Phases
from app.auth.signing_keys import SigningKeys
from app.console.visits import FORM, MAX_FIELDS, Pages, Posted, Visit, Visiting
from app.domain import redirects
from app.features.oauth import logout, queries
from app.features.oauth.logout import Asked, Hint
from app.features.sessions import service as sessions
from app.kit.clock import utc_now
from app.kit.errors import Kind, Problem
from app.models import OAuthClient

PAGE = "/oauth/logout"
CONFIRM = f"{PAGE}/confirm"
NAMES = {
    "id_token_hint": "hint",
    "client_id": "client_id",
    "post_logout_redirect_uri": "redirect_uri",
    "state": "state",
}
MOST = 8192
SIGNED_OUT = "signed out by an application"
router = Pages(PAGE)


async def _asked(request: Request) -> Asked:
    """What was asked for, each thing once. Raises Problem `invalid_request`."""
    given = request.query_params.multi_items() if request.method == "GET" else await _posted(request)
    named = [(name, value) for name, value in given if name in NAMES]
    if len({name for name, _ in named}) < len(named) or any(len(value) > MOST for _, value in named):
        raise Problem(Kind.bad_request, "invalid_request", "The application sent a parameter twice, or one too long")
    return Asked(**{NAMES[name]: value for name, value in named})


async def _posted(request: Request) -> list[tuple[str, str]]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(Kind.unsupported_media, "unsupported_media_type", f"Content-Type must be {FORM}")
    form = await request.form(max_files=0, max_fields=MAX_FIELDS)
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]


Asking = Annotated[Asked, Depends(_asked)]


@router.get("")
async def show(visiting: Visiting, asked: Asking, phases: InPhases) -> Response:
    """Signs out whom the hint names, in the session that it names, and asks everybody else first."""
    hint, target = await _judge(visiting, asked, phases)
    person = visiting.person
    if person is None:
        return _away(visiting, target)
    if hint is not None and hint.is_of(person.user_id, person.session_id):
        return await _end(visiting, person, phases, target)
    targets = "'self'" if target is None else f"'self' {redirects.policy_source(target)}"
    return visiting.page("people/logout.html", targets=targets, fields=asked.fields())


@router.post("")
async def repeat(visiting: Visiting, asked: Asking) -> Response:
    """The same by POST: once more by GET, since browsers keep the session's cookie back from what others post."""
    fields = list(asked.fields().items())
    return visiting.go(redirects.with_parameters(PAGE, fields) if fields else PAGE)


@router.post("/confirm")
async def confirm(visiting: Visiting, _fields: Posted, asked: Asking, phases: InPhases) -> Response:
    """Signs out who said so."""
    _, target = await _judge(visiting, asked, phases)
    if visiting.person is None:
        return _away(visiting, target)
    return await _end(visiting, visiting.person, phases, target)


async def _judge(visiting: Visit, asked: Asked, phases: Phases) -> tuple[Hint | None, str | None]:
    """Whom the hint names, and where it leads; without a hint nowhere, since anybody may have asked."""
    keys: SigningKeys = visiting.request.app.state.signing_keys
    hint = logout.read_hint(await keys.current(), asked, visiting.settings.issuer, utc_now())
    return hint, None if hint is None else logout.target(await _client(phases, hint), asked)


async def _client(phases: Phases, hint: Hint) -> OAuthClient | None:
    async with phases.begin() as db:
        organisation_id = await db.scalar(queries.owner_of(hint.client_id))
    if organisation_id is None:
        return None
    async with phases.begin(organisation_id) as db:
        return (await db.scalars(queries.client(organisation_id, hint.client_id))).one_or_none()


async def _end(visiting: Visit, person: Person, phases: Phases, target: str | None) -> Response:
    async with phases.begin(person.user_id) as db:
        await db.run_sync(sessions.end, person.user_id, person.session_id, visiting.where(), SIGNED_OUT)
    visiting.person = None
    answer = _away(visiting, target)
    drop_cookie(answer)
    return answer


def _away(visiting: Visit, target: str | None) -> Response:
    if target is None:
        return visiting.page("people/logged_out.html")
    return RedirectResponse(target, status_code=303)
