"""The audit log over HTTP."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Response, status
from fastapi.responses import StreamingResponse

from app.auth.audit import Trailing, where_of
from app.auth.dependencies import CanReadAudit, Db
from app.auth.entrance import address_of
from app.auth.idempotency import OnceOnly
from app.auth.signed_urls import ByLink, SignedUrls
from app.domain.audit import Actor, Event, Outcome, Target, address
from app.domain.ids import encode
from app.features.audit import service
from app.features.audit.operations import record
from app.features.audit.queries import EventFilters
from app.features.audit.schemas import AuditEventOut, AuditLinkIn, AuditLinkOut
from app.kit.clock import utc_now
from app.kit.openapi import problems
from app.kit.paging import Listing, PageQuery
from app.kit.query import Label, Moment, only_known
from app.kit.routing import Router

CSV = {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The events, the newest first"}
LINK, DOWNLOAD = "/export-link", "/download.csv"
router = Router(tag="audit", prefix="/audit")


def _filters(
    action: Annotated[Label | None, Query(description="Only this action, such as key.created")] = None,
    actor: Annotated[Label | None, Query(description="Only by the key or token of this id")] = None,
    target: Annotated[Label | None, Query(description="Only what was done to the thing of this id")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only what ended so")] = None,
    ip: Annotated[Label | None, Query(description="Only from this address")] = None,
    since: Annotated[Moment | None, Query(description="Only from this moment on")] = None,
    until: Annotated[Moment | None, Query(description="Only before this moment")] = None,
) -> EventFilters:
    return EventFilters(action, actor, target, outcome, address(ip) or ip, since, until)


Filters = Annotated[EventFilters, Depends(_filters)]


@router.get("", response_model=Listing[AuditEventOut], dependencies=[Depends(only_known)])
async def list_(caller: CanReadAudit, db: Db, filters: Filters, asked: PageQuery) -> dict[str, Any]:
    """What was done in the organisation, the newest first."""
    return await service.page(db, caller.organisation_id, filters, asked)


@router.post(
    "/export-link", response_model=AuditLinkOut, status_code=status.HTTP_201_CREATED, dependencies=[Depends(only_known)]
)
async def link(
    request: Request,
    caller: CanReadAudit,
    _filters: Filters,
    wanted: AuditLinkIn,
    trail: Trailing,
    once: OnceOnly,
) -> Response:
    """A URL by which somebody without a credential downloads these events as CSV, until it expires."""

    async def work() -> AuditLinkOut:
        lifetime = timedelta(seconds=wanted.expiry_seconds)
        address = address_of(request.scope) if wanted.only_from_here else None
        made = SignedUrls(request.app.state.keyring).sign(
            caller.organisation_id,
            request.url.path.removesuffix(LINK) + DOWNLOAD,
            request.query_params.multi_items(),
            lifetime=lifetime,
            once=wanted.one_time,
            address=address,
        )
        trail.record("audit.link_made", _target(caller.organisation_id), **wanted.model_dump())
        return AuditLinkOut(
            url=request.app.state.settings.public_url.rstrip("/") + made, expires_at=utc_now() + lifetime
        )

    return await once(status.HTTP_201_CREATED, work, private=True)


@router.get(
    "/download.csv", response_class=StreamingResponse, responses={200: CSV, **problems(403)}, include_in_schema=False
)
async def download(request: Request, holder: ByLink, filters: Filters) -> StreamingResponse:
    """The events as CSV, for whoever holds a link to them. The download is an event too."""
    record(
        holder.db,
        Event(
            holder.organisation_id, "audit.exported", Actor("link"), _target(holder.organisation_id), where_of(request)
        ),
    )
    return _csv(service.export(request.app.state.sessions, holder.organisation_id, filters))


@router.get("/export.csv", response_class=StreamingResponse, responses={200: CSV}, dependencies=[Depends(only_known)])
async def export(request: Request, caller: CanReadAudit, filters: Filters, trail: Trailing) -> StreamingResponse:
    """The same as CSV, all of it. The export is an event too."""
    trail.record("audit.exported", _target(caller.organisation_id))
    return _csv(service.export(request.app.state.sessions, caller.organisation_id, filters))


def _target(organisation_id: UUID) -> Target:
    return Target("audit", encode("org", organisation_id))


def _csv(lines: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(
        lines, media_type="text/csv", headers={"Content-Disposition": 'attachment; filename="audit.csv"'}
    )
