"""What Python runs at its start when this folder is in PYTHONPATH: the clock is as many seconds off as a file says."""

import datetime as dt
import os
import time
from pathlib import Path
from typing import Self

from app.kit import clock

_FILE = Path(os.environ["FAULTS_CLOCK"])
_REMEMBERED_SECONDS = 0.2
_time, _time_ns = time.time, time.time_ns
_known = (float("-inf"), 0)


def _seconds_off() -> int:
    global _known  # noqa: PLW0603  # a file is not read for every timestamp
    now = time.monotonic()
    if now - _known[0] > _REMEMBERED_SECONDS:
        _known = now, int(_FILE.read_text() or _known[1])
    return _known[1]


class _Datetime(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return super().now(tz) + dt.timedelta(seconds=_seconds_off())


time.time = lambda: _time() + _seconds_off()
time.time_ns = lambda: _time_ns() + _seconds_off() * 1_000_000_000
setattr(clock, "datetime", _Datetime)  # noqa: B010  # the name is not the module's to give
