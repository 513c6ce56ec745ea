"""Calling the bench's own processes: the load generator, the receiver, and references that run for a while."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from app.cli.dev.errors import DevError
from app.cli.dev.ports import LOOPBACK

_POLL_SECONDS = 0.1
_FIRST_SECONDS = 30.0
_SILENT_SECONDS = 1.0


def run_module(*words: str, env: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 JSON
    """Runs a module to its end; what it printed, as JSON."""
    return run_together([words], env)[0]


def run_together(commands: Sequence[Sequence[str]], env: Mapping[str, str] | None = None) -> list[Any]:
    """Runs modules at the same time; what each printed, as JSON. DevError when one fails."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        for words in commands
    ]
    try:
        return [_result(one) for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()


def _result(process: subprocess.Popen[str]) -> Any:  # noqa: ANN401 JSON
    printed, said = process.communicate()
    if process.returncode:
        lines = said.strip().splitlines() or ["-"]
        raise DevError(f"{process.args!r} failed: {lines[-1]}")
    return json.loads(printed)


@dataclass(frozen=True, slots=True)
class Receipts:
    """What the receiver got: requests, different messages, the moments of the first and the last."""

    received: int
    distinct: int
    first: float
    last: float

    @property
    def per_second(self) -> float:
        """The rate between the first and the last; 0 when there were not two."""
        return (self.received - 1) / (self.last - self.first) if self.last > self.first else 0.0


class Receiver:
    """The receiver's control."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://{LOOPBACK}:{port}"

    def reset(self) -> Receipts:
        """What it got since the last reset."""
        return Receipts(**json.loads(self._get("/reset")))

    def count(self) -> Receipts:
        """What it has got so far."""
        return Receipts(**json.loads(self._get("/count")))

    def moments(self) -> dict[str, float]:
        """The moment of the first receipt of each message, by its id."""
        lines = (line.split() for line in self._get("/receipts").decode().splitlines())
        return {name: float(moment) for name, moment in lines}

    def wait_for(self, count: int, seconds: float) -> Receipts:
        """Returns when it has got so many, or `seconds` after the first. DevError when none comes at all."""
        patience = time.monotonic() + _FIRST_SECONDS
        while (got := self.count()).received < count:
            if time.monotonic() > (got.first + seconds if got.received else patience):
                break
            time.sleep(_POLL_SECONDS)
        if not got.received:
            raise DevError("nothing was delivered")
        return got

    def wait_until_silent(self) -> None:
        """Returns when nothing has come for a while."""
        before = -1
        while (count := self.count().received) != before:
            before = count
            time.sleep(_SILENT_SECONDS)

    def _get(self, path: str) -> bytes:
        connection = HTTPConnection(LOOPBACK, self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()
