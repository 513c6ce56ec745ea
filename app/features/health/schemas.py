"""Health on the wire."""

from typing import Literal

from app.kit.wire import Out

State = Literal["ok", "unavailable"]


class HealthOut(Out):
    """`db` is what the service cannot do without; without `queue` it only gets slower."""

    db: State
    queue: State
