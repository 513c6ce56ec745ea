"""The pages on which people allow OAuth clients something: the authorization endpoint and the question it asks."""

import json
from datetime import timedelta
from hashlib import sha256
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app.auth.people import ENROL, People, SignedIn
from app.auth.phases import InPhases
from app.auth.signing_keys import SigningKeys
from app.console.visits import FORM, Pages, Posted, Visit, Visiting, field
from app.domain import redirects
from app.domain.scopes import WORDS, OpenIdScope
from app.features.oauth import authorization
from app.features.oauth.authorization import Ask, Enrol, GoTo, Said, SignIn, Step, Visitor
from app.features.oauth.families import FAMILY_LIFETIME
from app.features.oauth.parameters import Asked, Pairs
from app.features.oauth.server import Surroundings
from app.features.oauth.tokens import ACCESS_LIFETIME
from app.kit.clock import utc_now
from app.kit.encryption import Forged
from app.kit.errors import Kind, Problem, forbidden

PAGE, CONSENT = "/oauth/authorize", "/oauth/consent"
ASKED = "asked"
"""Our own parameter, which says that the person was sent to sign in: sealed, for this request."""
PURPOSE = "authorize"
PATIENCE = timedelta(minutes=10)
SKEW = timedelta(seconds=10)
"""By how much the clocks may differ of the process that asked and of whatever began the session."""
MAX_PARAMETERS, MAX_CHARACTERS = 50, 16 * 1024
router = Pages("")


@router.get(PAGE)
async def authorize(visiting: Visiting, phases: InPhases) -> Response:
    """What a client asks for (RFC 6749, section 3.1)."""
    return await _proceed(visiting, phases, visiting.request.url.query, Said.nothing)


@router.post(PAGE)
async def authorize_by_post(request: Request) -> Response:
    """The same in a form (OpenID Connect Core 1.0, 3.1.2.1): answered as if it had come by GET, with cookies."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(Kind.unsupported_media, "unsupported_media_type", f"Content-Type must be {FORM}")
    body = (await request.body()).decode("latin-1")
    if len(body) > MAX_CHARACTERS:
        raise Problem(Kind.too_large, "payload_too_large", "The request is too large")
    query = urlencode(_pairs(body), errors="surrogateescape")
    return RedirectResponse(f"{request.app.state.settings.issuer}{PAGE}?{query}", 303)


@router.post(CONSENT)
async def consent(visiting: Visiting, _person: SignedIn, fields: Posted, phases: InPhases) -> Response:
    """What the person said."""
    said = Said.allow if field(fields, "answer") == Said.allow.value else Said.deny
    return await _proceed(visiting, phases, field(fields, "request", MAX_CHARACTERS), said)


async def _proceed(visiting: Visit, phases: InPhases, query: str, said: Said) -> Response:
    sent = _pairs(query)
    pairs = [one for one in sent if one[0] != ASKED]
    asked = Asked("GET", visiting.settings.issuer + PAGE, pairs, {})
    surroundings = await _surroundings(visiting)
    asked_before = _asked_before(surroundings, sent, pairs)
    visitor = Visitor(visiting.person, said, asked_before, lacks_factor=await _lacks_factor(visiting))

    def step(db: Session) -> Step:
        return authorization.proceed(db, surroundings, asked, visitor)

    async with phases.begin() as db:
        found = await db.run_sync(step)
    if isinstance(found, SignIn):
        return _sign_in(visiting, surroundings, pairs, found)
    if isinstance(found, Enrol):
        raise forbidden(ENROL, "mfa_enrolment_required")
    return _ask(visiting, found, query) if isinstance(found, Ask) else _leave(visiting, found)


async def _lacks_factor(visiting: Visit) -> bool:
    """Whether an organisation demands a second factor of the person, who has none."""
    person = visiting.person
    people: People = visiting.request.app.state.people
    if person is None or person.has_mfa or person.impersonator is not None:
        return False
    return await people.is_asked_for_mfa(person.user_id)


def _sign_in(visiting: Visit, surroundings: Surroundings, pairs: Pairs, step: SignIn) -> Response:
    now = utc_now()
    before = visiting.person.reauthenticated_at if step.again and visiting.person else now - SKEW
    mark = json.dumps([_digest(pairs), before.timestamp(), now.timestamp()]).encode()
    asked = surroundings.ring.seal(PURPOSE, mark)
    back = f"{PAGE}?{urlencode([*pairs, (ASKED, asked)], errors='surrogateescape')}"
    return visiting.go(f"/sign-in{'/again' if step.again else ''}?{urlencode({'next': back})}")


def _asked_before(surroundings: Surroundings, sent: Pairs, pairs: Pairs) -> float | None:
    """When the person had shown themselves before they were sent to sign in for this request; None if they were not."""
    marks = [value for name, value in sent if name == ASKED]
    if len(marks) != 1:
        return None
    try:
        digest, before, at = json.loads(surroundings.ring.unseal(PURPOSE, marks[0]))
    except Forged:
        return None
    is_fresh = utc_now().timestamp() - at < PATIENCE.total_seconds()
    return float(before) if is_fresh and digest == _digest(pairs) else None


def _ask(visiting: Visit, step: Ask, query: str) -> Response:
    wish = step.wish
    is_offline = OpenIdScope.offline_access in wish.scopes
    return visiting.page(
        "people/consent.html",
        targets=f"'self' {redirects.policy_source(wish.redirect_uri)}",
        client=wish.client.row,
        organisation=step.organisation,
        host=redirects.host_of(wish.redirect_uri),
        allowed=[(one, WORDS[one]) for one in wish.to_allow],
        days=FAMILY_LIFETIME.days if is_offline else None,
        minutes=int(ACCESS_LIFETIME.total_seconds() // 60),
        renews=wish.client.check_grant_type("refresh_token"),
        request=query,
    )


def _leave(visiting: Visit, step: GoTo) -> Response:
    # Browsers hold the policy of a page whose form was sent against all redirects that follow, and the pages for
    # signing in name no client's address: from there people go on by a page.
    if visiting.request.method == "GET" and visiting.request.headers.get("sec-fetch-site") == "same-origin":
        return visiting.page("people/onward.html", uri=step.uri, host=redirects.host_of(step.uri))
    return RedirectResponse(step.uri, 303)


async def _surroundings(visiting: Visit) -> Surroundings:
    state = visiting.request.app.state
    keys: SigningKeys = state.signing_keys
    return Surroundings(await keys.current(), state.keyring, visiting.settings.issuer, visiting.where())


def _pairs(query: str) -> list[tuple[str, str]]:
    """The parameters in their order. Bytes that are no text stand in for themselves, to be given back as they came."""
    try:
        return parse_qsl(query, keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise Problem(Kind.bad_request, "invalid_request", "The request has too many parameters") from None


def _digest(pairs: Pairs) -> str:
    return sha256(urlencode(pairs, errors="surrogateescape").encode()).hexdigest()
