"""Lets so many lines of a kind through each second."""

import time

from app.kit.telemetry.metrics import LOGS_SAMPLED


class Sampler:
    """Of one kind of lines in one process; those beyond `per_second` are counted instead."""

    def __init__(self, event: str, per_second: int) -> None:
        self._per_second = per_second
        self._left_out = LOGS_SAMPLED.labels(event)
        self._second = 0
        self._left = 0

    def takes(self) -> bool:
        """Whether the next line is written."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, self._per_second
        if self._left > 0:
            self._left -= 1
            return True
        self._left_out.inc()
        return False
