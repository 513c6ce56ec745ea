"""The pool of connections: kept apart by endpoint, gated by address, bounded in bytes.

One aiohttp connector serves the whole process. Its pool key is widened by the caller's
pool, the vetted addresses and the pins, so a kept connection is found again only by a
try of the same endpoint whose host has, at this moment, the same and still permitted
addresses. A connector per endpoint gives the same isolation; measured at 50 and 5000
endpoints it takes the same CPU time within the noise and more memory, and it leaves no
common bound on idle connections.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import AddrInfoType
from aiohttp.streams import EMPTY_PAYLOAD
from yarl import URL

from app.kit.egress.tls import check_pin

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

BODY_BYTES = 64 * 1024
HEAD_BYTES = 128 * 1024
RESPONSE_BYTES = 1024 * 1024
_ADDRESSES_TRIED = 8
_IDLE_PER_POOL = 8

Permits = Callable[[str, int], bool]


class BlockedAddressError(OSError):
    """An address that the policy denies; an OSError, for the connector passes those on."""


class TooLargeError(Exception):
    """A response that outgrew its bounds."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One request on its way: what the connector must know of it, and what became of it."""

    addresses: tuple[str, ...] = ()
    pins: frozenset[bytes] = frozenset()
    body_bytes: int = BODY_BYTES
    secure: bool = False
    opened: bool = False
    connected: bool = False
    remote: str | None = None
    status: int | None = None
    retry_after: str | None = None
    content_type: str | None = None
    body: bytes = b""

    @property
    def shaking_hands(self) -> bool:
        """Whether a socket was opened and no connection has come of it yet."""
        return self.opened and not self.connected

    @property
    def phase(self) -> str:
        """How far it came, in words."""
        if not self.addresses:
            return "resolving the host name"
        if self.shaking_hands:
            return "connecting"
        return "waiting for the answer" if self.status is None else "reading the answer"


attempt: ContextVar[Attempt] = ContextVar("attempt")


class Route(ClientRequest):
    """Where a connection leads, and whose it is: made once, used by every request on this way, sent by none.

    The connector reads from it what it must know to open a connection, and under which key it keeps one. The caller's
    pool, the vetted addresses and the pins take the place in aiohttp's key of the hash of the proxy's headers, which
    never differ here: two pools never meet.
    """

    def __init__(self, owner: tuple[Hashable, ...], url: URL, **ways: Any) -> None:  # noqa: ANN401 - aiohttp's own
        super().__init__("POST", url, **ways)
        key = super().connection_key
        self._owned_key = tuple.__new__(ConnectionKey, (*key[:6], owner, key.server_hostname))

    @property
    def connection_key(self) -> ConnectionKey:
        """The key under which connections on this way are kept."""
        return self._owned_key


class VettedAddresses(AbstractResolver):
    """Hands the connector the addresses that the attempt was vetted with, and no others."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The attempt's addresses; `family` is ignored, the connector races both."""
        del family
        return [_result(host, address, port) for address in _few(attempt.get().addresses)]

    async def close(self) -> None:
        """Nothing is held."""


def _few(addresses: tuple[str, ...]) -> list[str]:
    """A bounded number of addresses, of both families where there are both."""
    four = [address for address in addresses if ":" not in address]
    six = [address for address in addresses if ":" in address]
    half = _ADDRESSES_TRIED // 2
    return [*four[: max(half, _ADDRESSES_TRIED - len(six))], *six[: max(half, _ADDRESSES_TRIED - len(four))]]


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=flags)


class BoundedHandler(ResponseHandler):
    """aiohttp's protocol, with an end to what one response may send.

    Without it an endless run of 1xx answers, or of chunk extensions, would be parsed at
    full speed until the total timeout.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._received = 0
        self.peer: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the address that the connection leads to."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else None

    def set_response_params(self, **params: Any) -> None:  # noqa: ANN401 - whatever aiohttp knows goes through
        """Begins a response: called once for each request on the connection."""
        self._received = 0
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Parses, and ends the connection if the response outgrew its bounds."""
        super().data_received(data)
        self._received += len(data)
        if self._received > HEAD_BYTES and self._outgrown():
            self._cut(TooLargeError())

    def _cut(self, error: TooLargeError) -> None:
        body = self._payload
        self.abort()  # first, for it forgets the error
        self.set_exception(error)
        if body is not None:
            body.set_exception(error)

    def _outgrown(self) -> bool:
        in_body = self._payload is not None and self._payload is not EMPTY_PAYLOAD
        return not in_body or self._received > RESPONSE_BYTES

    def close(self) -> None:
        """Closes at once: a peer that never reads would hold a polite close for ever."""
        self.abort()


class Connector(TCPConnector):
    """The process's one connector: no limit of its own on use, one on idle connections."""

    def __init__(self, permits: Permits, *, idle_pools: int, idle_seconds: float, source: str | None) -> None:
        super().__init__(
            resolver=VettedAddresses(),
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=idle_seconds,
            socket_factory=self._open,
            local_addr=None if source is None else (source, 0),
        )
        self._permits = permits
        self._idle_pools = idle_pools
        handler: type[ResponseHandler] = BoundedHandler
        self._factory = partial(handler, loop=self._loop)

    def _open(self, address: AddrInfoType) -> socket.socket:
        # The last gate, and the only one that literal addresses pass in aiohttp.
        family, kind, protocol, _, target = address
        if not self._permits(str(target[0]), int(target[1])):
            raise BlockedAddressError
        attempt.get().opened = True
        return socket.socket(family, kind, protocol)

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list["Trace"],
        timeout: ClientTimeout,  # noqa: ASYNC109 - the name is aiohttp's
    ) -> ResponseHandler:
        handler = await super()._create_connection(req, traces, timeout)
        try:
            check_pin(_tls_of(handler), attempt.get().pins)
        except BaseException:
            handler.close()
            raise
        attempt.get().connected = True
        return handler

    def forget(self, key: ConnectionKey) -> None:
        """Closes the idle connections of a way."""
        for handler, _ in self._conns.pop(key, ()):
            handler.close()

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        full = len(self._conns.get(key, ())) >= _IDLE_PER_POOL
        super()._release(key, protocol, should_close=should_close or full)
        if len(self._conns) > self._idle_pools:
            self._close_oldest()

    def _close_oldest(self) -> None:
        # Keys leave the pool with their last idle connection, so the first is the stalest.
        oldest = next(iter(self._conns))
        for handler, _ in self._conns.pop(oldest):
            handler.close()


def _tls_of(handler: ResponseHandler) -> ssl.SSLObject | None:
    transport = handler.transport
    found: ssl.SSLObject | None = transport.get_extra_info("ssl_object") if transport is not None else None
    return found
