"""One request and its answer on a connection of aiohttp, written at once and parsed by aiohttp's parser.

aiohttp's session does more than a webhook needs (cookies, redirects, chunks, a task that writes), which costs as much
again as the rest of a request.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import ClientTimeout
from aiohttp.connector import Connection
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy

from app.kit.egress.connections import Attempt, BoundedHandler, Connector, Route

_HEADER_CHARS = 100
_LINE_BYTES = 8 * 1024
_HEADERS = 128
_NO_LIMIT = ClientTimeout(total=None, sock_connect=None)
_SWITCHING, _FINAL = 101, 200
_LINE_END = "\r\n"

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Way:
    """Where requests of one pool to one URL go, and how each of them begins: request line and fixed headers.

    `usual` headers follow unless a request brings its own.
    """

    route: Route
    beginning: str
    usual: Pairs

    def head(self, headers: Mapping[str, str], length: int | None) -> bytes:
        """The head of a request with a body of `length` bytes, None for a method that has none.

        Raises ValueError when a header would end its line.
        """
        given = {name.lower() for name in headers}
        usual = (pair for pair in self.usual if pair[0].lower() not in given)
        sized = [] if length is None else [f"Content-Length: {length}"]
        lines = [*_lines(usual), *_lines(headers.items()), *sized, "", ""]
        text = _LINE_END.join(lines)
        ends = len(lines) - 1
        if text.count("\r") != ends or text.count("\n") != ends or "\0" in text:
            msg = "a header has a line end or NUL in it"
            raise ValueError(msg)
        return (self.beginning + text).encode()


def beginning(method: str, target: str, fixed: Pairs) -> str:
    """How every request to `target`, an absolute path or URL, begins."""
    return _LINE_END.join((f"{method} {target} HTTP/1.1", *_lines(fixed), ""))


async def exchange(connector: Connector, route: Route, request: bytes, current: Attempt) -> None:
    """Sends a request and fills `current` with the answer: its body up to the limit, also if the rest fails."""
    connection = await connector.connect(route, [], _NO_LIMIT)
    try:
        whole = await _converse(connection, request, current)
    except BaseException:
        connection.close()
        raise
    if whole:
        connection.release()
    else:
        connection.close()


def _lines(headers: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers]


async def _converse(connection: Connection, request: bytes, current: Attempt) -> bool:
    """Whether the answer came whole, so that the connection may be used again."""
    protocol = connection.protocol
    assert isinstance(protocol, BoundedHandler)
    current.remote = protocol.peer
    protocol.set_response_params(
        read_until_eof=True,
        auto_decompress=False,
        max_line_size=_LINE_BYTES,
        max_field_size=_LINE_BYTES,
        max_headers=_HEADERS,
    )
    assert protocol.transport is not None
    protocol.transport.write(request)
    message, content = await protocol.read()
    while message.code < _FINAL and message.code != _SWITCHING:
        message, content = await protocol.read()
    current.status = message.code
    current.retry_after = _short(message.headers, "Retry-After")
    current.content_type = _short(message.headers, "Content-Type")
    await _read(content, current)
    return content.is_eof()


def _short(headers: CIMultiDictProxy[str], name: str) -> str | None:
    return headers.get(name, "")[:_HEADER_CHARS] or None


async def _read(content: StreamReader, current: Attempt) -> None:
    if content.is_eof():
        current.body = content.read_nowait(current.body_bytes)
        return
    while (left := current.body_bytes - len(current.body)) > 0 and (part := await content.read(left)):
        current.body += part
