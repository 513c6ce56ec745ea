"""Health on the wire."""

from typing import Literal

from app.kit.wire import Out

State = Literal["ok", "unavailable"]


class HealthOut(Out):
    """Whether the service can do its work.

    An organisation is told of its parts too: without `db` it cannot, without `queue` it only gets slower.
    """

    status: State
    db: State | None = None
    queue: State | None = None
