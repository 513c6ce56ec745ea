"""Endpoints, name servers and proxies on loopback that behave as a test needs."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import cast

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, TXT, A, DNSRecord

from app.domain.addresses import parse_allow_list
from app.kit.egress import Answer, Egress, Options, Outgoing, Policy

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]

ANY_PORT = range(1, 65536)
LOOPBACK = Policy(allow=parse_allow_list(["127.0.0.0/8", "::1/128"]), ports=ANY_PORT)
NOTHING_ALLOWED = Policy(ports=ANY_PORT)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def client(
    policy: Policy = LOOPBACK,
    *,
    limit: float = 1.0,
    nameservers: tuple[str, ...] = (),
    memory: float = 5.0,
    proxy: str | None = None,
    source: str | None = None,
) -> Egress:
    """A client with a short patience."""
    return Egress(
        policy,
        Options(
            timeout_seconds=limit,
            nameservers=nameservers,
            dns_seconds=min(limit, 3.0),
            dns_memory_seconds=memory,
            proxy=proxy,
            source_address=source,
        ),
    )


async def send(egress: Egress, url: str, body: bytes = b"{}", *, pool: str = "ep", ca: bytes | None = None) -> Answer:
    """One POST with nothing special."""
    return await egress.post(Outgoing(url, body, {"content-type": "application/json"}, pool, ca))


@dataclass
class Peer:
    """A listening endpoint, and what it saw."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


async def read_request(reader: Reader) -> bytes:
    """The head of the next request, its body read too."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    return head


@asynccontextmanager
async def serve(
    behaviour: Behaviour, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """A peer whose every connection is `behaviour`."""
    peer = Peer()
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: Reader, writer: Writer) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await behaviour(reader, writer)
        finally:
            writer.transport.abort()

    def accepted(reader: Reader, writer: Writer) -> None:
        peer.connections += 1
        peer.callers.append(writer.get_extra_info("peername")[0])
        task = asyncio.ensure_future(run(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accepted, host, 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def receiver(
    answer: bytes = OK, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """A peer that answers every request on a kept connection."""
    seen: list[bytes] = []

    async def behaviour(reader: Reader, writer: Writer) -> None:
        while True:
            seen.append(await read_request(reader))
            writer.write(answer)
            await writer.drain()

    async with serve(behaviour, host=host, tls=tls) as peer:
        peer.requests = seen
        yield peer


Answers = Callable[[str], Sequence[str] | int | None]


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, names: "NameServer") -> None:
        self._names = names

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own class of them is none by name.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._names.reply(data, limit=512)
        if reply is not None:
            self._transport.sendto(reply, addr)


class NameServer:
    """A name server whose answer for a name is addresses, an alias, a code, or silence; TXT records are `texts`."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.texts: dict[str, Sequence[str]] = {}
        self.asked: list[str] = []
        self.address = ""

    def reply(self, data: bytes, limit: int = 65535) -> bytes | None:
        request = DNSRecord.parse(data)
        name = str(request.q.qname).rstrip(".")
        self.asked.append(name)
        reply = request.reply()
        if request.q.qtype == QTYPE.TXT and name in self.texts:
            for text in self.texts[name]:
                reply.add_answer(RR(name, QTYPE.TXT, rdata=TXT(text), ttl=0))
            return bytes(reply.pack())
        found = self.answers(name)
        if found is None:
            return None
        if isinstance(found, int):
            reply.header.rcode = found
        else:
            self._fill(reply, name, found)
        packed: bytes = reply.pack()
        if len(packed) <= limit:
            return packed
        shortened = request.reply()
        shortened.header.tc = 1
        return bytes(shortened.pack())

    def _fill(self, reply: DNSRecord, name: str, found: Sequence[str], depth: int = 0) -> None:
        for item in found:
            if item.startswith("->"):
                alias = item[2:]
                reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(alias), ttl=0))
                further = self.answers(alias)
                if depth < 5 and isinstance(further, Sequence):
                    self._fill(reply, alias, further, depth + 1)
            else:
                self._add(reply, name, ip_address(item))

    def _add(self, reply: DNSRecord, name: str, address: IPv4Address | IPv6Address) -> None:
        kind, make = ("A", A) if address.version == 4 else ("AAAA", AAAA)
        if QTYPE[reply.q.qtype] == kind:
            reply.add_answer(RR(name, getattr(QTYPE, kind), rdata=make(tuple(address.packed)), ttl=0))

    async def over_tcp(self, reader: Reader, writer: Writer) -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(2), "big")
            reply = self.reply(await reader.readexactly(size))
            if reply is not None:
                writer.write(len(reply).to_bytes(2, "big") + reply)


@asynccontextmanager
async def name_server(answers: Answers) -> AsyncIterator[NameServer]:
    """A name server over UDP and TCP on one loopback port."""
    names = NameServer(answers)
    async with serve(names.over_tcp) as tcp:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Udp(names), local_addr=("127.0.0.1", tcp.port)
        )
        names.address = f"127.0.0.1:{tcp.port}"
        try:
            yield names
        finally:
            transport.close()


def closed_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


NXDOMAIN: int = RCODE.NXDOMAIN
SERVFAIL: int = RCODE.SERVFAIL
