"""The receiver of the fault suite: a process that writes each request down, and syncs, before it answers."""

import asyncio
import hashlib
import json
import os
import socket
import sys
import time
from asyncio import Transport
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import cast

import uvloop
from standardwebhooks import Webhook, WebhookVerificationError

_HEAD_END = b"\r\n\r\n"
_CONTROL, _TRUST = "/control", "/trust"
DIGEST_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a path does: answers `status` after `after` seconds, at most `times` times (0: always).

    `retry_after` is sent when given. After that the path answers as ever. With `every` only each so many-th message is
    answered so, at its first try.
    """

    status: int = 204
    after: float = 0.0
    times: int = 0
    retry_after: int = 0
    every: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """One request as the log has it: `at` of time.monotonic, and the status that it is answered with.

    `age` is how many seconds ago it was signed, by its own word.
    """

    at: float
    path: str
    message_id: str
    digest: str
    status: int
    age: float


def digest_of(body: bytes) -> str:
    """What the log says of a body."""
    return hashlib.sha256(body).hexdigest()[:DIGEST_CHARACTERS]


class Receiver:
    """The receiver as the tests see it."""

    def __init__(self, host: str, port: int, log: Path) -> None:
        self.host, self.port, self._log = host, port, log

    def url(self, path: str) -> str:
        """An endpoint's URL."""
        return f"http://{self.host}:{self.port}{path}"

    def tell(self, path: str, behaviour: Behaviour | None = None) -> None:
        """Changes what a path does from now on; the default is 204 at once."""
        self._post(_CONTROL, json.dumps({"path": path, **asdict(behaviour or Behaviour())}).encode())

    def trust(self, path: str, secret: str) -> None:
        """Has what comes to a path without a signature by its endpoint's secret (`whsec_…`) be answered by 401."""
        self._post(_TRUST, json.dumps({"path": path, "secret": secret}).encode())

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            self.tell("/ready")
        except OSError:
            return False
        return True

    def receipts(self, prefix: str) -> list[Receipt]:
        """What came to paths with this prefix, oldest first."""
        lines = (line.split(" ") for line in self._log.read_text().splitlines() if f" {prefix}" in line)
        return [
            Receipt(float(at), path, name, digest, int(status), float(age))
            for at, path, name, digest, status, age in lines
        ]

    def _post(self, path: str, body: bytes) -> None:
        connection = HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("POST", path, body)
            connection.getresponse().read()
        finally:
            connection.close()


class _Log:
    """Writes lines and syncs them, many at a time; answers go when their line is safe."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: list[bytes] = []
        self._waiting: list[partial[None]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, line: bytes, then: partial[None]) -> None:
        """Writes a line, then acts."""
        self._lines.append(line)
        self._waiting.append(then)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._lines:
            lines, waiting = b"".join(self._lines), self._waiting
            self._lines, self._waiting = [], []
            os.write(self._file, lines)
            await loop.run_in_executor(None, os.fsync, self._file)
            for act in waiting:
                act()
        self._task = None


class _Server:
    """The behaviours of all paths."""

    def __init__(self, log: _Log) -> None:
        self.log = log
        self._behaviours: dict[str, Behaviour] = {}
        self._done: dict[str, int] = defaultdict(int)
        self._came: dict[str, set[str]] = defaultdict(set)
        self._secrets: dict[str, Webhook] = {}

    def trust(self, body: bytes) -> None:
        """Learns by which secret what comes to a path is signed."""
        values = json.loads(body)
        self._secrets[values["path"]] = Webhook(values["secret"])

    def control(self, body: bytes) -> None:
        """Takes an order."""
        values = json.loads(body)
        path = values.pop("path")
        self._behaviours[path] = Behaviour(**values)
        self._done[path] = 0

    def behaviour(self, path: str, headers: dict[str, str], body: bytes) -> Behaviour:
        """What to do with a request."""
        if not self._is_signed(path, headers, body):
            return Behaviour(401)
        found = self._behaviours.get(path, Behaviour())
        self._done[path] += 1
        if found.times and self._done[path] > found.times:
            return Behaviour()
        return found if not found.every or self._is_in_turn(path, headers["webhook-id"], found.every) else Behaviour()

    def _is_in_turn(self, path: str, message_id: str, every: int) -> bool:
        """Whether a message comes for the first time, and is each so many-th that does."""
        came = self._came[path]
        if message_id in came:
            return False
        came.add(message_id)
        return len(came) % every == 0

    def _is_signed(self, path: str, headers: dict[str, str], body: bytes) -> bool:
        """Whether it is, or nobody has said by what secret."""
        if path not in self._secrets:
            return True
        try:
            self._secrets[path].verify(body, headers, json_parse=False)
        except WebhookVerificationError:
            return False
        return True


class _Connection(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = b""
        self._transport: Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("Transport", transport)  # uvloop's has another base

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head := self._buffer.find(_HEAD_END)) >= 0:
            lines = self._buffer[:head].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            end = head + len(_HEAD_END) + int(headers.get("content-length", "0"))
            if len(self._buffer) < end:
                return
            body, self._buffer = self._buffer[head + len(_HEAD_END) : end], self._buffer[end:]
            self._take(lines[0].split(" ")[1], headers, body)

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        if path in (_CONTROL, _TRUST):
            act = self._server.control if path == _CONTROL else self._server.trust
            act(body)
            self._answer(Behaviour())
            return
        now, behaviour = time.monotonic(), self._server.behaviour(path, headers, body)
        age = time.time() - float(headers.get("webhook-timestamp", "nan"))
        line = f"{now:.6f} {path} {headers.get('webhook-id', '-')} {digest_of(body)} {behaviour.status} {age:.1f}\n"
        self._server.log.add(line.encode(), partial(self._act, behaviour))

    def _act(self, behaviour: Behaviour) -> None:
        if behaviour.after:
            asyncio.get_running_loop().call_later(behaviour.after, self._answer, behaviour)
        else:
            self._answer(behaviour)

    def _answer(self, behaviour: Behaviour) -> None:
        if not self._transport.is_closing():
            more = f"retry-after: {behaviour.retry_after}\r\n" if behaviour.retry_after else ""
            length = "" if behaviour.status == 204 else "content-length: 0\r\n"
            self._transport.write(f"HTTP/1.1 {behaviour.status} X\r\n{length}{more}\r\n".encode())


async def _serve(host: str, port: int, log: Path) -> None:
    server = _Server(_Log(log))
    listening = await asyncio.get_running_loop().create_server(
        partial(_Connection, server), host, port, backlog=1024, reuse_address=True, family=socket.AF_INET
    )
    await listening.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(_serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
