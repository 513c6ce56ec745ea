"""JSON text around JSON that is already written, which goes through unchanged."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response


def write(fields: Mapping[str, Any]) -> bytes:
    """An object of plain values."""
    return json.dumps(fields, separators=(",", ":")).encode()


def write_with(fields: Mapping[str, Any], name: str, raw: bytes) -> bytes:
    """An object whose last member is JSON text already; `fields` is not empty."""
    return b"%b,%b:%b}" % (write(fields)[:-1], json.dumps(name).encode(), raw)


def write_page(page: Mapping[str, Any], items: Iterable[bytes]) -> bytes:
    """A page whose items are JSON text already."""
    rest = {name: value for name, value in page.items() if name != "data"}
    return write_with(rest, "data", b"[%b]" % b",".join(items))


def respond(body: bytes, status: int = 200) -> Response:
    """The text as an answer."""
    return Response(body, status, media_type="application/json")
