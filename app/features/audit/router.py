"""The audit log over HTTP."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse

from app.auth.audit import Trailing
from app.auth.dependencies import CanReadAudit, Db
from app.domain.audit import Outcome, Target, address
from app.features.audit import service
from app.features.audit.queries import EventFilters
from app.features.audit.schemas import AuditEventOut
from app.kit.paging import Listing, PageQuery
from app.kit.query import Label, Moment, only_known
from app.kit.routing import Router

CSV = {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The events, the newest first"}
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


@router.get("/export.csv", response_class=StreamingResponse, responses={200: CSV}, dependencies=[Depends(only_known)])
async def export(request: Request, caller: CanReadAudit, filters: Filters, trail: Trailing) -> StreamingResponse:
    """The same as CSV, all of it. The export is an event too."""
    trail.record("audit.exported", Target("audit"))
    lines = service.export(request.app.state.sessions, caller.organisation_id, filters)
    return StreamingResponse(
        lines, media_type="text/csv", headers={"Content-Disposition": 'attachment; filename="audit.csv"'}
    )
