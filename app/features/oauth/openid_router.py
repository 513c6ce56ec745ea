"""The OpenID provider for machines: what it is, its keys, and what it says of people."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from app.auth.caller import Caller
from app.auth.entrance import Entrance, credential
from app.auth.phases import InPhases
from app.auth.signing_keys import SigningKeys
from app.domain.ids import encode
from app.features.oauth import openid, queries
from app.features.people import queries as people
from app.kit.clock import utc_now
from app.kit.errors import Kind, Problem, unauthenticated

FORM = "application/x-www-form-urlencoded"
JWKS_TYPE = "application/jwk-set+json"
# Well below the time for which a key is published before it signs.
CACHED = {"Cache-Control": "public, max-age=300"}
OPENID = "openid"
router = APIRouter(include_in_schema=False)


@router.get("/.well-known/openid-configuration")
@router.get("/.well-known/oauth-authorization-server")
async def configuration(request: Request) -> JSONResponse:
    """What this provider offers."""
    return JSONResponse(openid.configuration(request.app.state.issuer), headers=CACHED)


@router.get("/oauth/jwks")
async def jwks(request: Request) -> JSONResponse:
    """The keys that verify its tokens."""
    keys: SigningKeys = request.app.state.signing_keys
    published = (await keys.current()).published(utc_now())
    return JSONResponse(published, headers=CACHED, media_type=JWKS_TYPE)


async def holder(request: Request) -> Caller:
    """The person whose access token comes along, in the header or in a form that is posted (RFC 6750).

    Raises what `Entrance.identify` does, and Problem `forbidden` for a token without `openid`.
    """
    entrance: Entrance = request.app.state.entrance
    caller = await entrance.identify(request.scope, await _token(request))
    if caller.user_id is None or OPENID not in caller.scopes:
        detail = "The token was not given for openid, or stands for nobody"
        challenge = 'Bearer error="insufficient_scope", scope="openid"'
        raise Problem(Kind.forbidden, "insufficient access", detail, word="insufficient_scope", challenge=challenge)
    return caller


@router.get("/oauth/userinfo")
@router.post("/oauth/userinfo")
async def userinfo(caller: Annotated[Caller, Depends(holder)], phases: InPhases) -> dict[str, Any]:
    """What the person lets the client know."""
    assert caller.user_id is not None
    assert caller.family_id is not None
    async with phases.begin(caller.user_id, caller.organisation_id) as db:
        user = (await db.scalars(people.user(caller.user_id))).one_or_none()
        claims = await db.scalar(queries.requested_claims(caller.organisation_id, caller.family_id))
    if user is None:
        raise unauthenticated()
    return {
        "sub": encode("user", user.id),
        **openid.about(user, sorted(caller.scopes), (claims or {}).get("userinfo")),
    }


async def _token(request: Request) -> str:
    headers = request.headers.getlist("authorization")
    given = [credential(one) for one in headers]
    if request.method == "POST" and _type_of(request) == FORM:
        given += [one for one in (await request.form(max_files=0)).getlist("access_token") if isinstance(one, str)]
    if len(given) > 1:
        raise Problem(Kind.bad_request, "invalid_request", "The request carries more than one token; send one")
    if not given:
        raise unauthenticated()
    return given[0]


def _type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
