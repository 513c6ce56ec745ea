"""The pages by which people sign in at their organisation's identity provider.

No form leads there directly: a page of ours stands between, so that the forms of the sign-in page may lead to us alone.
"""

from urllib.parse import urlencode
from uuid import UUID

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from app.auth.audit import where_of
from app.auth.people import RecentlySignedIn
from app.auth.phases import InPhases
from app.console.realms import HINT, PAGE
from app.console.sign_in import circumstances, proceed, terms
from app.console.visits import Pages, Posted, Visit, Visiting, field, local_path
from app.domain.audit import SYSTEM, Where
from app.domain.ids import decode, encode
from app.features.identity_providers import operations, queries
from app.features.identity_providers.accounts import Account, Vouched
from app.features.identity_providers.errors import PROVIDER, refused
from app.features.identity_providers.flows import Flow, Offer
from app.features.identity_providers.provider import Providers
from app.features.sign_in import service
from app.features.sign_in.measures import PROVIDER as BY_PROVIDER
from app.features.sign_in.measures import measure_refused
from app.features.sign_in.service import Proven, Step
from app.features.sign_in.tickets import Vouched as SaidOf
from app.kit.encryption import Forged, KeyRing
from app.kit.errors import Problem, forbidden, not_found
from app.kit.errors_http import STATUS

OVER = "This sign-in took too long, was begun in another browser, or is finished; begin anew"
NO_STORE = {"Cache-Control": "no-store"}
MAX_TOKEN = 64 * 1024
router = Pages(PAGE)


@router.get("")
async def pass_on(visiting: Visiting, provider: str, next: str | None = None, hint: str = "") -> Response:  # noqa: A002
    """Leads on to the provider at once, and by a link where that does not happen."""
    if decode(PROVIDER, provider) is None:
        raise not_found("Identity provider")
    asked = {"provider": provider, "next": local_path(next), **({"hint": hint} if hint else {})}
    return visiting.page("people/provider.html", start=f"{visiting.base}{PAGE}/start?{urlencode(asked)}")


@router.get("/start")
async def start(
    visiting: Visiting,
    provider: str,
    phases: InPhases,
    next: str | None = None,  # noqa: A002 the field's name in links
    hint: str = "",
) -> Response:
    """Sends the browser to the provider, with what it has to bring back."""
    account = await _account(visiting, phases, provider)
    flow = Flow(organisation_id=account.organisation_id, provider_id=account.id, next=local_path(next))
    address = _read_hint(visiting, hint)
    try:
        url = await _providers(visiting).authorization_url(
            account, flow, flow.seal(_ring(visiting), visiting.browser), _redirect(visiting, account.id), address
        )
    except Problem as problem:
        return await _refused(visiting, phases, account.organisation_id, account.id, problem)
    return visiting.leave(url)


@router.get("/callback/{provider}")
async def come_back(visiting: Visiting, provider: str, phases: InPhases) -> Response:
    """Where the provider sends the browser back to: begins the session, or refuses to."""
    provider_id, answer = decode(PROVIDER, provider), dict(visiting.request.query_params)
    flow = Flow.read(_ring(visiting), answer.get("state", ""), visiting.browser)
    if flow is None or flow.provider_id != provider_id:
        return await _refused(visiting, phases, SYSTEM, provider_id, refused("state_wrong", OVER))
    try:
        if len(answer) < len(visiting.request.query_params.multi_items()):
            raise refused("answer_malformed", "its answer says something twice")
        async with phases.begin(flow.organisation_id) as db:
            account = await db.run_sync(operations.resume, _ring(visiting), flow)
        vouched = await _providers(visiting).redeem(account, flow, answer, _redirect(visiting, account.id))
        async with phases.begin(flow.organisation_id) as db:
            step = await db.run_sync(_step, visiting, flow, vouched)
    except Problem as problem:
        return await _refused(visiting, phases, flow.organisation_id, flow.provider_id, problem)
    if isinstance(step, Offer):
        sealed = step.seal(_ring(visiting), visiting.browser)
        return visiting.go(f"{PAGE}/link?{urlencode({'offer': sealed})}")
    return proceed(visiting, step)


@router.get("/link")
async def offer_link(visiting: Visiting, person: RecentlySignedIn, offer: str) -> Response:
    """Asks whether an account at the provider is to be joined to the person, who has just shown to be there."""
    found = _offer(visiting, offer, person.user_id)
    return visiting.page("people/provider_link.html", offer=offer, address=found.email)


@router.post("/link")
async def link(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Joins the two."""
    found = _offer(visiting, field(fields, "offer"), person.user_id)
    async with phases.begin(found.organisation_id, person.user_id) as db:
        await db.run_sync(operations.link, found, visiting.where())
    return visiting.go(found.next)


@router.post("/{provider}/logout")
async def log_out(request: Request, provider: str, phases: InPhases) -> Response:
    """Where the provider tells that somebody signed out there (OpenID Connect Back-Channel Logout 1.0)."""
    form = await request.form(max_files=0, max_fields=10, max_part_size=MAX_TOKEN)
    token, where = form.get("logout_token"), where_of(request)
    provider_id = decode(PROVIDER, provider)
    organisation_id = await _organisation(phases, provider_id)
    if organisation_id is None or provider_id is None:
        raise not_found("Identity provider")
    try:
        if not isinstance(token, str):
            raise refused("token_malformed", "there is no logout_token")
        await _log_out(request, phases, organisation_id, provider_id, token, where)
    except Problem as problem:
        async with phases.begin(organisation_id, SYSTEM) as db:
            await db.run_sync(operations.note_refusal, organisation_id, provider_id, problem.word, where)
        return JSONResponse({"error": "invalid_request", "error_description": problem.word}, 400, NO_STORE)
    return Response(status_code=200, headers=NO_STORE)


def _step(db: Session, visiting: Visit, flow: Flow, vouched: Vouched) -> Step | Offer:
    found = operations.recognise(db, flow, vouched, visiting.where())
    if isinstance(found, Offer):
        return found
    said = SaidOf(flow.organisation_id, flow.provider_id, vouched.subject, vouched.session)
    # What the provider says of its own methods counts for nothing here: a second factor of ours is ours to see.
    proven = Proven(found.user_id, ("fed",), said)
    return service.conclude(db, proven, circumstances(visiting), terms(visiting), flow.next)


async def _log_out(
    request: Request, phases: InPhases, organisation_id: UUID, provider_id: UUID, token: str, where: Where
) -> None:
    async with phases.begin(organisation_id) as db:
        account = await db.run_sync(operations.account, request.app.state.keyring, organisation_id, provider_id)
    providers: Providers = request.app.state.providers
    claims = await providers.logged_out(account, token)
    async with phases.begin(organisation_id) as db:
        await db.run_sync(operations.log_out, account, claims, where)


async def _account(visiting: Visit, phases: InPhases, provider: str) -> Account:
    """How we are known to a provider. Raises Problem `not_found`."""
    provider_id = decode(PROVIDER, provider)
    organisation_id = await _organisation(phases, provider_id)
    if organisation_id is None or provider_id is None:
        raise not_found("Identity provider")
    async with phases.begin(organisation_id) as db:
        return await db.run_sync(operations.account, _ring(visiting), organisation_id, provider_id)


async def _organisation(phases: InPhases, provider_id: UUID | None) -> UUID | None:
    if provider_id is None:
        return None
    async with phases.begin() as db:
        found: UUID | None = await db.scalar(queries.find_organisation(provider_id))
    return found


async def _refused(
    visiting: Visit, phases: InPhases, organisation_id: UUID, provider_id: UUID | None, problem: Problem
) -> Response:
    """The page that says why there is no session; the audit log has it too."""
    measure_refused(BY_PROVIDER, "failed")
    async with phases.begin(organisation_id, SYSTEM) as db:
        await db.run_sync(operations.note_refusal, organisation_id, provider_id, problem.word, visiting.where())
    return visiting.page("people/refused.html", STATUS[problem.kind], problem=problem)


def _offer(visiting: Visit, text: str, user_id: UUID) -> Offer:
    """The offer to join, if it is this person's. Raises Problem `forbidden`."""
    found = Offer.read(_ring(visiting), text, visiting.browser)
    if found is None:
        raise forbidden(OVER, "offer_over")
    if found.user_id != user_id:
        raise forbidden("This account belongs to somebody else; sign in as who you are there", "another_person")
    return found


def _read_hint(visiting: Visit, hint: str) -> str:
    """The address that was typed; a hint that was not made here is none."""
    try:
        return _ring(visiting).unseal(HINT, hint).decode() if hint else ""
    except Forged:
        return ""


def _redirect(visiting: Visit, provider_id: UUID) -> str:
    return f"{visiting.settings.public_url.rstrip('/')}{PAGE}/callback/{encode(PROVIDER, provider_id)}"


def _providers(visiting: Visit) -> Providers:
    found: Providers = visiting.request.app.state.providers
    return found


def _ring(visiting: Visit) -> KeyRing:
    ring: KeyRing = visiting.request.app.state.keyring
    return ring
