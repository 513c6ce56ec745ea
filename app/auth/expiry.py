"""Tells a caller that its key ends soon, in each answer."""

from datetime import datetime, timedelta

from starlette.types import Scope

from app.auth.caller import Caller
from app.kit.clock import utc_now
from app.kit.surface.answers import ANSWER_HEADERS

HEADER = "postrider-key-expires-at"
SOON = timedelta(days=7)


def soon_to_end(caller: Caller) -> str | None:
    """When the caller's secret ends, as RFC 3339, in its last seven days."""
    if caller.ends_at is None or caller.ends_at - utc_now() > SOON:
        return None
    return _text(caller.ends_at)


def announce_end(caller: Caller, scope: Scope) -> None:
    """Says it in the headers of whatever answers the request."""
    end = soon_to_end(caller)
    if end is not None:
        scope[ANSWER_HEADERS] = [*scope.get(ANSWER_HEADERS, ()), (HEADER.encode(), end.encode())]


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
