"""The receiver of every bench: takes webhooks as cheaply as Python can, and says which it got and when."""

import asyncio
import json
import time
from typing import cast

import click
import uvloop

from app.cli.bench.wire import content_length

_HEAD_END = b"\r\n\r\n"
_ID = b"\r\nwebhook-id:"
_NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Ledger:
    """What came in: the moment (of time.monotonic) of each message's first receipt, and how many there were."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self._first: dict[bytes, float] = {}
        self._count = 0
        self._last = 0.0

    def note(self, message_id: bytes) -> None:
        """Takes a receipt down."""
        self._count += 1
        self._last = time.monotonic()
        self._first.setdefault(message_id, self._last)

    def summary(self) -> bytes:
        """Counts and the moments of the first and the last receipt, as JSON."""
        first = next(iter(self._first.values()), 0.0)
        known = {"received": self._count, "distinct": len(self._first), "first": first, "last": self._last}
        return json.dumps(known).encode()

    def receipts(self) -> bytes:
        """All of it: a line for each message."""
        return b"".join(b"%b %b\n" % (name, repr(moment).encode()) for name, moment in self._first.items())


class Receiver(asyncio.Protocol):
    """One connection. POST is a webhook; GET asks for the ledger, or resets it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base

    def data_received(self, data: bytes) -> None:
        """Answers every request that is whole."""
        buffer = self._buffer + data if self._buffer else data
        while (head := buffer.find(_HEAD_END)) >= 0:
            end = head + 4 + (content_length(buffer, head) or 0)
            if len(buffer) < end:
                break
            self._answer(buffer[:head])
            buffer = buffer[end:]
        self._buffer = buffer

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"POST "):
            self._ledger.note(_message_id(head))
            self._transport.write(_NO_CONTENT)
        else:
            body = self._tell(head.split(b" ", 2)[1])
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    def _tell(self, path: bytes) -> bytes:
        if path == b"/receipts":
            return self._ledger.receipts()
        summary = self._ledger.summary()
        if path == b"/reset":
            self._ledger.reset()
        return summary


def _message_id(head: bytes) -> bytes:
    at = head.lower().find(_ID)
    if at < 0:
        return b"none"
    start = at + len(_ID)
    end = head.find(b"\r", start)
    return (head[start:] if end < 0 else head[start:end]).strip()


async def serve(port: int) -> None:
    """Listens on loopback until the process ends."""
    ledger = Ledger()
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(ledger), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


@click.command()
@click.option("--port", required=True, type=int)
def main(port: int) -> None:
    """Receive webhooks."""
    uvloop.run(serve(port))


if __name__ == "__main__":
    main()
