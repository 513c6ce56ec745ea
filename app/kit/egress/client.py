"""The one HTTP client of the product."""

import asyncio
import resource
import ssl
from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal, NamedTuple, Self

import aiohttp
from yarl import URL

from app.domain.addresses import DEFAULT_PORTS, Allowance, CheckedUrl, Network, check_url, is_allowed
from app.domain.outcome import Failure
from app.kit.egress.connections import BODY_BYTES, Attempt, BlockedAddressError, Connector, Route, attempt
from app.kit.egress.exchange import Way, beginning, exchange
from app.kit.egress.failures import ProxyLostError, explain
from app.kit.egress.names import NameLookupError, Names
from app.kit.egress.proxy import Proxy, literal, tunnel
from app.kit.egress.tls import Contexts

_MOST_POOLS = 10_000
_TARGETS = 20_000
_WAYS = 20_000
_VERDICTS = 50_000
_CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)

_Trust = ssl.SSLContext | Literal[True]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which URLs and addresses may be reached."""

    allow: Sequence[Allowance] = ()
    deny: Sequence[Network] = ()
    ports: Collection[int] = DEFAULT_PORTS
    https_only: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How requests leave.

    `timeout_seconds` is the total over name, connect, TLS, head and body. Connections wait
    `idle_seconds` for their next request, those of at most `idle_pools` pools (by default
    what the limit of open files affords). Name servers, by default the system's, are
    `host` or `host:port`; they are asked for at most `dns_seconds` and their answers used
    for `dns_memory_seconds`. `proxy` is `http://[user:password@]host:port`, for all
    requests; connections are made from `source_address` where it is given.
    """

    timeout_seconds: float = 15.0
    user_agent: str = "Postrider-Webhooks"
    nameservers: tuple[str, ...] = ()
    dns_seconds: float = 3.0
    dns_memory_seconds: float = 5.0
    idle_seconds: float = 15.0
    idle_pools: int | None = None
    proxy: str | None = field(default=None, repr=False)
    source_address: str | None = None


class Outgoing(NamedTuple):
    """A request, by default a POST. `pool` names whose kept connections it may use: two pools never share one.

    Host, Accept-Encoding and Content-Length are not among `headers`: the client sets them.

    `ca_pem` replaces the system's authorities. With `pins` (SHA-256 of a public key, see
    `tls.pin_of`) the verified certificate must also have one of these keys. Of the answer's
    body `body_bytes` at most are read.
    """

    url: str
    body: bytes
    headers: Mapping[str, str]
    pool: Hashable
    ca_pem: bytes | None = None
    pins: frozenset[bytes] = frozenset()
    method: str = "POST"
    body_bytes: int = BODY_BYTES


class Answer(NamedTuple):
    """What became of a request. Success of the transport is `failure is None`.

    A failure may come with a status: the head arrived, the body did not. `body` is at
    most `body_bytes` (64 KiB unless the request says otherwise) and as sent, never
    decompressed; a longer one was cut without a failure.
    `detail` is short and safe to show to the endpoint's owner.
    """

    status: int | None
    failure: Failure | None
    detail: str
    body: bytes
    retry_after: str | None
    duration_ms: int
    remote: str | None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    url: URL
    host: str
    port: int
    literal: tuple[str, ...] | None
    secure: bool


class Egress:
    """Sends requests out, and nowhere else than the policy permits.

    Make one per process, inside its running loop, as an async context manager. Each try
    judges the URL, then every address that the host has now (remembered for a few
    seconds); one denied address denies the host. The judged addresses are the only ones
    the connector is given, and part of the key under which connections are kept, so a
    kept connection serves only while its host still has the same permitted addresses.

    With a proxy the target is judged the same way first. For https the proxy is asked to
    connect to a judged address, so it resolves nothing; for http it is given the name
    and resolves it itself, so there its own rules are the last gate.
    """

    def __init__(self, policy: Policy, options: Options) -> None:
        self._policy = policy
        self._timeout = options.timeout_seconds
        self._names = Names(options.nameservers, limit=options.dns_seconds, memory=options.dns_memory_seconds)
        self._contexts = Contexts()
        self._targets: OrderedDict[str, _Target] = OrderedDict()
        self._ways: OrderedDict[tuple[Hashable, ...], Way] = OrderedDict()
        self._usual = (("User-Agent", options.user_agent), ("Accept", "*/*"))
        self._verdicts: dict[tuple[str, int], bool] = {}
        self._proxy = None if options.proxy is None else Proxy(options.proxy)
        self._connector = Connector(
            self._may_open,
            idle_pools=options.idle_pools or _affordable_pools(),
            idle_seconds=options.idle_seconds,
            source=options.source_address,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection."""
        await self._connector.close()
        await self._names.close()

    @property
    def policy(self) -> Policy:
        """What may be reached. A new policy binds from the next try on, kept connections too."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._targets.clear()
        self._verdicts.clear()

    async def texts(self, name: str) -> tuple[str, ...]:
        """The TXT records of a name, as its name servers have them now. Raises NameLookupError."""
        return await self._names.texts(name)

    async def post(self, request: Outgoing) -> Answer:
        """Sends a POST; see `send`."""
        return await self.send(request)

    async def send(self, request: Outgoing) -> Answer:
        """Sends `request` once, redirects not followed, within the total timeout.

        Never raises for what the endpoint, its name server or its certificate does. A kept
        connection that turns out to be closed is replaced by a new one once: whether the
        endpoint saw the first request is then unknown, as after any lost connection.
        """
        started = monotonic()
        current = Attempt(pins=request.pins, body_bytes=request.body_bytes)
        attempt.set(current)
        failure, detail = await self._outcome(request, current)
        took = int((monotonic() - started) * 1000)
        return Answer(
            current.status,
            failure,
            detail,
            current.body,
            current.retry_after,
            took,
            current.remote,
            current.content_type,
        )

    async def _outcome(self, request: Outgoing, current: Attempt) -> tuple[Failure | None, str]:
        try:
            async with asyncio.timeout(self._timeout):
                await self._exchange(request, current)
        except Exception as error:  # noqa: BLE001 - an endpoint may find an error that nobody foresaw
            return explain(error, current)
        return None, ""

    async def _exchange(self, request: Outgoing, current: Attempt) -> None:
        target = self._targets.get(request.url) or self._judged_url(request.url)
        vetted = self._judged(target) or await self._looked_up(target)
        current.secure = target.secure
        current.addresses = vetted if self._proxy is None else await self._proxy_addresses(self._proxy)
        way = self._way(request, target, vetted)
        length = len(request.body) if request.body or request.method != "GET" else None
        written = way.head(request.headers, length) + request.body
        try:
            await exchange(self._connector, way.route, written, current)
        except _CLOSED:
            if current.opened or current.status is not None:
                raise
            # The endpoint closed a kept connection; others of that age are likely closed too.
            self._connector.forget(way.route.connection_key)
            await exchange(self._connector, way.route, written, current)

    def _way(self, request: Outgoing, target: _Target, vetted: tuple[str, ...]) -> Way:
        name = (request.method, request.url, request.pool, vetted, request.ca_pem, request.pins)
        found = self._ways.get(name)
        if found is None:
            found = self._ways[name] = self._new_way(request, target, vetted)
            if len(self._ways) > _WAYS:
                self._ways.popitem(last=False)
        return found

    def _new_way(self, request: Outgoing, target: _Target, vetted: tuple[str, ...]) -> Way:
        trust: _Trust = self._contexts.get(request.ca_pem) if target.secure else True
        owner = (request.pool, vetted, request.pins)
        fixed = (("Host", target.url.raw_authority), ("Accept-Encoding", "identity"))
        path = target.url.raw_path_qs
        if self._proxy is None:
            return Way(Route(owner, target.url, ssl=trust), beginning(request.method, path, fixed), self._usual)
        through = {"ssl": trust, "proxy": self._proxy.url, "proxy_headers": self._proxy.headers}
        if target.secure:
            ends = tunnel(target.url, vetted)
            route = Route(owner, ends, server_hostname=target.host, headers=fixed[:1], **through)
            return Way(route, beginning(request.method, path, fixed), self._usual)
        # Without TLS the proxy reads the request, which is meant for it as much as for the endpoint.
        start = beginning(request.method, str(target.url), (*fixed, *self._proxy.headers.items()))
        return Way(Route(owner, target.url, **through), start, self._usual)

    def _judged_url(self, url: str) -> _Target:
        policy = self._policy
        checked = check_url(url, allow=policy.allow, allowed_ports=policy.ports, https_only=policy.https_only)
        target = self._targets[url] = _as_target(checked)
        if len(self._targets) > _TARGETS:
            self._targets.popitem(last=False)
        return target

    def _judged(self, target: _Target) -> tuple[str, ...] | None:
        """All addresses of the target, each permitted; None while they are unknown. Raises BlockedAddressError."""
        addresses = target.literal or self._names.known(target.host)
        if addresses is not None:
            self._judge(addresses, target.port)
        return addresses

    async def _looked_up(self, target: _Target) -> tuple[str, ...]:
        """All addresses of the target by its name servers. Raises BlockedAddressError, NameLookupError."""
        addresses = await self._names.lookup(target.host)
        self._judge(addresses, target.port)
        return addresses

    def _judge(self, addresses: tuple[str, ...], port: int) -> None:
        for address in addresses:
            if not self._permitted(address, port):
                raise BlockedAddressError

    def _permitted(self, address: str, port: int) -> bool:
        verdict = self._verdicts.get((address, port))
        if verdict is None:
            if len(self._verdicts) >= _VERDICTS:
                self._verdicts.clear()
            policy = self._policy
            verdict = is_allowed(address, port, policy.allow, policy.deny, policy.ports)
            self._verdicts[address, port] = verdict
        return verdict

    def _may_open(self, address: str, port: int) -> bool:
        # Behind a proxy every socket leads to the proxy, which the operator named.
        if self._proxy is None:
            return self._permitted(address, port)
        return port == self._proxy.port and address in attempt.get().addresses

    async def _proxy_addresses(self, proxy: Proxy) -> tuple[str, ...]:
        try:
            return literal(proxy.host) or await self._names.lookup(proxy.host)
        except NameLookupError as error:
            raise ProxyLostError from error


def _affordable_pools() -> int:
    """As many idle pools as leave half of the process's file descriptors to live requests."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_POOLS if soft == resource.RLIM_INFINITY else min(_MOST_POOLS, soft // 2)


def _as_target(checked: CheckedUrl) -> _Target:
    # From the checked parts and already encoded, so that no second parser reads it otherwise.
    url = URL(checked.url, encoded=True)
    literal = None if checked.address is None else (str(checked.address),)
    return _Target(url, checked.host, checked.port, literal, checked.scheme == "https")
