"""The cookie that names a browser. It recognises a device, and never authenticates anybody."""

from uuid import UUID

from fastapi import Request
from starlette.responses import Response

from app.kit.encryption import Forged, KeyRing

COOKIE = "__Host-postrider_device"
PURPOSE = "device"
MAX_AGE_SECONDS = 400 * 24 * 3600
"""As long as browsers keep any cookie."""


def device_of(request: Request) -> UUID | None:
    """The device whose cookie came along; None for none, and for one that was not made here."""
    ring: KeyRing = request.app.state.keyring
    try:
        return UUID(bytes=ring.unseal(PURPOSE, request.cookies.get(COOKIE, "")))
    except (Forged, ValueError):
        return None


def set_device(answer: Response, ring: KeyRing, device_id: UUID) -> None:
    """Lets the browser be recognised the next time."""
    sealed = ring.seal(PURPOSE, device_id.bytes)
    answer.set_cookie(COOKIE, sealed, max_age=MAX_AGE_SECONDS, path="/", secure=True, httponly=True, samesite="lax")
