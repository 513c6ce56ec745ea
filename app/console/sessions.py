"""Where a person is signed in, and with which devices."""

from datetime import timedelta
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response

from app.auth.people import InPerson, SignedIn, drop_cookie
from app.auth.phases import InPhases
from app.console.visits import Pages, Posted, Visiting
from app.domain.ids import decode, encode
from app.features.sessions import service
from app.kit.errors import not_found

PAGE = "/account/sessions"
router = Pages(PAGE)


def _session(session: str) -> UUID:
    return _id("session", session)


def _device(device: str) -> UUID:
    return _id("device", device)


def _id(kind: str, text: str) -> UUID:
    found = decode(kind, text)
    if found is None:
        raise not_found(kind.capitalize())
    return found


SessionId = Annotated[UUID, Depends(_session)]
DeviceId = Annotated[UUID, Depends(_device)]


@router.get("")
async def show(visiting: Visiting, person: SignedIn, phases: InPhases) -> Response:
    """All of them."""
    idle = timedelta(minutes=visiting.settings.people.idle_minutes)
    async with phases.begin(person.user_id) as db:
        sessions, devices = await db.run_sync(service.overview, person.user_id, idle)
    return visiting.page("people/sessions.html", sessions=sessions, devices=devices, id=encode)


@router.post("/others")
async def end_others(visiting: Visiting, person: InPerson, _fields: Posted, phases: InPhases) -> Response:
    """Ends all but this one."""
    async with phases.begin(person.user_id) as db:
        await db.run_sync(partial(service.end_all, but=person.session_id), person.user_id, visiting.where())
    return visiting.go(PAGE)


@router.post("/all")
async def end_all(visiting: Visiting, person: InPerson, _fields: Posted, phases: InPhases) -> Response:
    """Ends all, this one too."""
    async with phases.begin(person.user_id) as db:
        await db.run_sync(service.end_all, person.user_id, visiting.where())
    return _leave(visiting)


@router.post("/{session}/end")
async def end_one(
    visiting: Visiting, person: InPerson, session_id: SessionId, _fields: Posted, phases: InPhases
) -> Response:
    """Ends one, which may be this one."""
    async with phases.begin(person.user_id) as db:
        await db.run_sync(service.end, person.user_id, session_id, visiting.where())
    return _leave(visiting) if session_id == person.session_id else visiting.go(PAGE)


@router.post("/devices/{device}/forget")
async def forget_device(
    visiting: Visiting, person: InPerson, device_id: DeviceId, _fields: Posted, phases: InPhases
) -> Response:
    """Forgets a device, which is noticed as a new one the next time."""
    async with phases.begin(person.user_id) as db:
        await db.run_sync(service.forget_device, person.user_id, device_id, visiting.where())
    return visiting.go(PAGE)


def _leave(visiting: Visiting) -> Response:
    answer = visiting.go("/sign-in")
    drop_cookie(answer)
    return answer
