"""Portal access over HTTP."""

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.audit import Trailing
from app.auth.caller import Caller
from app.auth.dependencies import AnyCaller, CanGrantPortals, Db, credential, require
from app.auth.idempotency import OnceOnly
from app.auth.keys import Callers
from app.auth.portal import PortalTokens, portal_url
from app.auth.resources import AppId, ApplicationToClose, load_application, seek_application
from app.domain.audit import Target
from app.domain.permissions import Permission
from app.features.audit.targets import application_target
from app.features.authentication import queries, service
from app.features.authentication.schemas import ApplicationTokenExpireIn, AppPortalAccessIn, AppPortalAccessOut
from app.kit.routing import Router
from app.models import Application

router = Router(tag="authentication", prefix="/auth")


@router.post("/app-portal-access/{app_id}", response_model=AppPortalAccessOut)
@router.post("/dashboard-access/{app_id}", response_model=AppPortalAccessOut, include_in_schema=False)
async def app_portal_access(
    request: Request,
    app_id: AppId,
    body: AppPortalAccessIn,
    caller: CanGrantPortals,
    db: Db,
    once: OnceOnly,
    trail: Trailing,
) -> Response:
    """A token for the application's own users, and the page that takes it.

    With `application`, the application is made when the path names none.
    """

    async def work() -> AppPortalAccessOut:
        application = await _application(db, caller, app_id, body)
        token = service.mint(request.app.state.portal_tokens, caller, application, body)
        trail.record(
            "portal.granted", application_target(application), **body.model_dump(exclude={"application", "session_id"})
        )
        return AppPortalAccessOut(token=token, url=portal_url(request.app.state.settings.public_url, token))

    return await once(200, work, private=True)


@router.post("/app/{app_id}/expire-all", status_code=204)
async def expire_all(
    application: ApplicationToClose, body: ApplicationTokenExpireIn, db: Db, once: OnceOnly, trail: Trailing
) -> Response:
    """Ends the portal tokens that were made until now, of one or more sessions or all, at once or after a while."""

    async def work() -> None:
        await service.expire_all(db, application, body)
        trail.record("portal.expired", application_target(application), **body.model_dump())

    return await once(204, work)


@router.post("/logout", status_code=204)
async def logout(request: Request, caller: AnyCaller, db: Db, once: OnceOnly, trail: Trailing) -> Response:
    """Ends the portal token that calls. An API key has no session: nothing ends, the operator revokes it."""

    async def work() -> None:
        if not caller.is_organisation:
            await _revoke(request, db)
            trail.record("portal.ended", Target("portal", caller.subject.removeprefix("portal:")))

    return await once(204, work)


async def _application(db: AsyncSession, caller: Caller, reference: str, body: AppPortalAccessIn) -> Application:
    if body.application is None:
        return await load_application(db, caller.environment_id, reference)
    require(caller, Permission.application_write)
    found = await seek_application(db, caller.environment_id, reference)
    return found or await service.make_application(db, caller.environment_id, reference, body.application)


async def _revoke(request: Request, db: AsyncSession) -> None:
    tokens: PortalTokens = request.app.state.portal_tokens
    callers: Callers = request.app.state.callers
    text = credential(request)
    token = tokens.verify(text)
    await db.execute(queries.revoke(token.grant.environment_id, token.id, token.expires_at))
    callers.forget(text)
