"""The wire contract as a load generator needs it: requests made of bytes, and connections that stay open."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from uuid import uuid4

EVENT_TYPE = "bench.event"
_TEXT = "Postrider carries an event to everyone who asked for it, signed, and again until it lands. "
_PAYLOAD_CHARACTERS = 980
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Caller:
    """An API key, and the application that it posts to."""

    key: str
    app: str


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go; ValueError for a URL that is not plain HTTP."""

    host: str
    port: int
    prefix: str

    @classmethod
    def at(cls, url: str) -> "Server":
        """Reads `http://host:port`, with a path in front of `/api/v1` if need be."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of the form http://host:port")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/"))


class Requests:
    """Endless POSTs of a message of about 1 KiB, each with an idempotency key of its own, in turns of the callers."""

    def __init__(self, server: Server, callers: Sequence[Caller]) -> None:
        self._body = event_body()
        run = uuid4().hex
        self._heads = itertools.cycle([self._head(server, caller, run) for caller in callers])
        self._count = itertools.count()

    def __next__(self) -> bytes:
        """The bytes of the next request."""
        return b"%b%x\r\n\r\n%b" % (next(self._heads), next(self._count), self._body)

    def _head(self, server: Server, caller: Caller, run: str) -> bytes:
        lines = (
            f"POST {server.prefix}/api/v1/app/{caller.app}/msg HTTP/1.1",
            f"host: {server.host}:{server.port}",
            f"authorization: Bearer {caller.key}",
            "accept: application/json",
            "content-type: application/json",
            f"content-length: {len(self._body)}",
            f"idempotency-key: {run}-",
        )
        return "\r\n".join(lines).encode()


def event_body() -> bytes:
    """A message as it is posted."""
    return json.dumps({"eventType": EVENT_TYPE, "payload": json.loads(event_payload())}).encode()


def event_payload() -> bytes:
    """The payload of every message: about 1 KiB of JSON."""
    text = (_TEXT * (_PAYLOAD_CHARACTERS // len(_TEXT) + 1))[:_PAYLOAD_CHARACTERS]
    return json.dumps({"number": 12345, "text": text}).encode()


class Connection(asyncio.Protocol):
    """A connection that is kept alive, with one request under way at most.

    `answered` gets the status and the body of each answer, `lost` is told of an end that was not asked for.
    """

    def __init__(
        self, answered: Callable[["Connection", int, bytes], None], lost: Callable[["Connection"], None]
    ) -> None:
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport
        self._buffer = b""
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base

    def connection_lost(self, _: Exception | None) -> None:
        """Tells, unless we closed it."""
        if not self._closing:
            self._lost(self)

    def post(self, request: bytes) -> None:
        """Sends a request."""
        self._transport.write(request)

    def close(self) -> None:
        """Ends the connection."""
        self._closing = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Hands over an answer once it is whole."""
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(_HEAD_END)
        if head < 0 or not _is_whole(buffer, head):
            self._buffer = buffer
            return
        self._buffer = b""
        self._answered(self, int(buffer[9:12]), buffer[head + 4 :])


def _is_whole(buffer: bytes, head: int) -> bool:
    length = content_length(buffer, head)
    if length is None:
        return buffer.endswith(b"0\r\n\r\n")  # chunks
    return len(buffer) >= head + 4 + length


def content_length(buffer: bytes, head: int) -> int | None:
    """What the first `head` bytes announce; None when they do not."""
    return _number(buffer[:head].lower(), b"\r\ncontent-length:")


def _number(lines: bytes, name: bytes) -> int | None:
    at = lines.find(name)
    if at < 0:
        return None
    start = at + len(name)
    end = lines.find(b"\r", start)
    return int(lines[start:] if end < 0 else lines[start:end])


def write_callers(path: Path, callers: Iterable[Caller]) -> None:
    """Writes a file of one JSON object a line, which only we may read."""
    path.touch(mode=0o600)
    path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in callers))


def read_callers(path: Path) -> list[Caller]:
    """What `write_callers` wrote; ValueError, TypeError or OSError for anything else."""
    return [Caller(**json.loads(line)) for line in path.read_text().splitlines() if line]
