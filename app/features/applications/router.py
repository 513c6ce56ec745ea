"""Applications over HTTP."""

from typing import Annotated, Any

from fastapi import Query, Response

from app.auth.audit import Trailing
from app.auth.dependencies import CanListApplications, CanWriteApplications, Db
from app.auth.idempotency import Answer, OnceOnly
from app.auth.resources import (
    AppId,
    ReadableApplication,
    WritableApplication,
    load_deleted_application,
    seek_application,
)
from app.features.applications import queries, service
from app.features.applications.schemas import (
    ApplicationIn,
    ApplicationOut,
    ApplicationPatch,
    ApplicationRestoreIn,
    DeletedApplicationOut,
    tag,
)
from app.features.audit.targets import application_target
from app.kit.conditional import IfMatch, IfNoneMatch
from app.kit.openapi import problems
from app.kit.paging import Listing, PageQuery, Seal, paginate
from app.kit.routing import Router
from app.models import Application

router = Router(tag="application", prefix="/app")
deleted = Router(tag="application", prefix="/deleted/app")


@router.get("", response_model=Listing[ApplicationOut])
async def list_(caller: CanListApplications, db: Db, page: PageQuery) -> dict[str, Any]:
    """The organisation's applications, oldest first."""
    environment_id = caller.environment_id
    seal = Seal("applications", (environment_id,))
    return await paginate(db, queries.live(environment_id), Application.id, page, seal=seal, shape=ApplicationOut.of)


@router.post("", response_model=ApplicationOut, status_code=201, responses={200: {"model": ApplicationOut}})
async def create(
    body: ApplicationIn,
    caller: CanWriteApplications,
    db: Db,
    once: OnceOnly,
    trail: Trailing,
    get_if_exists: Annotated[bool, Query(description="Answer 200 with the one that has this uid")] = False,  # noqa: FBT002
) -> Response:
    """Adds an application. 409 when the uid is taken, unless `get_if_exists`."""

    async def work() -> Answer:
        application, new = await service.create(db, caller.environment_id, body, get_if_exists=get_if_exists)
        if new:
            trail.record("application.created", application_target(application))
        return _answer(application, 201 if new else 200)

    return await once(201, work)


@router.get("/{app_id}", response_model=ApplicationOut)
async def get(application: ReadableApplication, known: IfNoneMatch) -> Response:
    """One application, by its id or uid."""
    return known.answer(tag(application), ApplicationOut.of(application))


@router.put("/{app_id}", response_model=ApplicationOut, responses={201: {"model": ApplicationOut}, **problems(409)})
async def upsert(
    app_id: AppId, body: ApplicationIn, caller: CanWriteApplications, db: Db, wanted: IfMatch, trail: Trailing
) -> Response:
    """Replaces an application, or adds one (201) with the path as its uid; with If-Match only the former."""
    environment_id = caller.environment_id
    current = await seek_application(db, environment_id, app_id, lock=True)
    wanted.require(tag(current) if current else None)
    if current is not None:
        application = await service.replace(db, environment_id, current, body)
        trail.record("application.changed", application_target(application))
        return _answer(application).response()
    application = await service.create_at(db, environment_id, app_id, body)
    trail.record("application.created", application_target(application))
    return _answer(application, 201).response()


@router.patch("/{app_id}", response_model=ApplicationOut, responses=problems(409))
async def patch(
    application: WritableApplication, body: ApplicationPatch, db: Db, wanted: IfMatch, trail: Trailing
) -> Response:
    """Changes the given fields; null clears."""
    wanted.require(tag(application))
    changed = await service.patch(db, application.environment_id, application, body)
    trail.record("application.changed", application_target(changed), fields=body.model_fields_set)
    return _answer(changed).response()


@router.delete("/{app_id}", status_code=204)
async def delete(application: WritableApplication, db: Db, wanted: IfMatch, trail: Trailing) -> None:
    """Deletes an application and cancels what its endpoints are owed; its uid is free at once.

    For 30 days it can be restored.
    """
    wanted.require(tag(application))
    await service.remove(db, application.environment_id, application.id)
    trail.record("application.deleted", application_target(application))


@router.post("/{app_id}/restore", response_model=ApplicationOut)
async def restore(
    app_id: AppId, body: ApplicationRestoreIn, caller: CanWriteApplications, db: Db, once: OnceOnly, trail: Trailing
) -> Response:
    """Brings back an application, by its id, with the endpoints that were deleted with it.

    What was cancelled stays so, and can be replayed. 409 when another application has its uid by now.
    """

    async def work() -> Answer:
        gone = await load_deleted_application(db, caller.environment_id, app_id)
        application = await service.restore(db, gone, body)
        trail.record("application.restored", application_target(application))
        return _answer(application)

    return await once(200, work)


@deleted.get("", response_model=Listing[DeletedApplicationOut])
async def list_deleted(caller: CanWriteApplications, db: Db, page: PageQuery) -> dict[str, Any]:
    """The deleted applications that can be restored, oldest first."""
    environment_id = caller.environment_id
    seal = Seal("deleted-applications", (environment_id,))
    statement = queries.deleted(environment_id)
    return await paginate(db, statement, Application.id, page, seal=seal, shape=DeletedApplicationOut.of)


def _answer(application: Application, status: int = 200) -> Answer:
    return Answer(status, ApplicationOut.of(application), tag(application))
