"""How connections are kept, replaced, bounded, and led through a proxy."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trustme
import uvloop

from app.domain.addresses import parse_allow_list
from app.domain.outcome import Failure
from app.kit.egress import Answer, Egress, Options, Outgoing, Policy
from tests.egress.peers import (
    ANY_PORT,
    LOOPBACK,
    NOTHING_ALLOWED,
    OK,
    Peer,
    Reader,
    Writer,
    client,
    closed_port,
    name_server,
    read_request,
    receiver,
    send,
    serve,
)

CA = trustme.CA()
PUBLIC = "93.184.216.34"


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with receiver() as peer, client() as egress:
        answers = [await send(egress, peer.url) for _ in range(5)]
    assert {(answer.status, answer.body, answer.remote) for answer in answers} == {(200, b"ok", "127.0.0.1")}
    assert peer.connections == 1


async def test_the_exact_bytes_and_headers_are_sent() -> None:
    body = b'{"n": 1.0}\n\x00\xff'
    seen: list[bytes] = []

    async def behaviour(reader: Reader, writer: Writer) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readexactly(len(body)))
        writer.write(OK)
        await writer.drain()

    async with serve(behaviour) as peer, client() as egress:
        headers = {"webhook-id": "msg_1", "x-word": "gr\u00fc\u00df"}
        await egress.post(Outgoing(f"{peer.url}?a=%2F&b", body, headers, "ep"))
    head = seen[0].lower()
    assert head.startswith(b"post /hook?a=%2f&b http/1.1\r\n")
    assert b"user-agent: postrider-webhooks\r\n" in head
    assert b"webhook-id: msg_1\r\n" in head
    assert "x-word: gr\u00fc\u00df\r\n".encode() in head
    assert b"content-length: %d\r\n" % len(body) in head
    assert seen[1] == body


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "Accept", "ACCEPT"])
async def test_what_the_caller_says_itself_is_not_said_for_it(name: str) -> None:
    async with receiver() as peer, client() as egress:
        await egress.post(Outgoing(peer.url, b"", {name: "mine/1"}, "ep"))
    head = peer.requests[0].lower()
    assert head.count(b"user-agent: ") == head.count(b"accept: ") == 1
    assert name.lower().encode() + b": mine/1\r\n" in head


@pytest.mark.parametrize("value", ["a\r\nx-forged: 1", "a\nx-forged: 1", "a\rb", "a\0b"])
async def test_no_header_ends_its_line(value: str) -> None:
    async with receiver() as peer, client() as egress:
        answer = await egress.post(Outgoing(peer.url, b"", {"x-word": value}, "ep"))
    assert answer.failure is Failure.OTHER
    assert peer.requests == []


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def once(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await read_request(reader)  # and closes without an answer

    async with serve(once) as peer, client() as egress:
        first = await send(egress, peer.url)
        second = await send(egress, peer.url)
    assert (first.status, second.status, second.failure) == (200, 200, None)
    assert peer.connections == 2


async def test_a_new_connection_that_is_closed_is_a_failure_at_once() -> None:
    async def never(reader: Reader, _writer: Writer) -> None:
        await read_request(reader)

    async with serve(never) as peer, client() as egress:
        answer = await send(egress, peer.url)
    assert (answer.status, answer.failure) == (None, Failure.RESET)
    assert peer.connections == 1


async def test_bytes_after_an_answer_end_the_connection() -> None:
    async with receiver(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged") as peer, client() as egress:
        answers = [await send(egress, peer.url) for _ in range(3)]
    assert {answer.body for answer in answers} <= {b"ok", b""}
    assert not any(b"forged" in answer.body for answer in answers)


async def test_idle_connections_are_closed_after_a_while() -> None:
    gone = asyncio.Event()

    async def watching(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await reader.read(1)
        gone.set()

    async with serve(watching) as peer, Egress(LOOPBACK, Options(idle_seconds=0.2)) as egress:
        await send(egress, peer.url)
        await asyncio.wait_for(gone.wait(), 2.0)


async def test_the_number_of_idle_pools_is_bounded() -> None:
    async with receiver() as peer, Egress(LOOPBACK, Options(idle_pools=3)) as egress:
        for number in range(10):
            await send(egress, peer.url, pool=f"ep{number}")
        assert len(egress._connector._conns) == 3
        await send(egress, peer.url, pool="ep9")
        await send(egress, peer.url, pool="ep0")
    assert peer.connections == 11  # the latest was kept, the oldest was not


async def test_the_idle_connections_of_one_pool_are_bounded() -> None:
    async with receiver() as peer, client() as egress:
        await asyncio.gather(*(send(egress, peer.url) for _ in range(20)))
        (idle,) = egress._connector._conns.values()
        assert len(idle) == 8
    assert peer.connections == 20


async def test_nothing_from_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as trap, receiver() as peer:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
        async with client() as egress:
            answer = await send(egress, peer.url)
    assert answer.status == 200
    assert trap.connections == 0


async def test_a_refused_connection_is_named() -> None:
    async with client() as egress:
        answer = await send(egress, f"http://127.0.0.1:{closed_port()}/")
    assert (answer.failure, answer.detail) == (Failure.REFUSED, "the connection was refused")


async def test_requests_leave_from_the_source_address() -> None:
    async with receiver() as peer, client(source="127.0.0.9") as egress:
        answer = await send(egress, peer.url)
    assert answer.status == 200
    assert peer.callers == ["127.0.0.9"]


async def test_a_source_address_that_is_not_ours_is_our_fault() -> None:
    async with receiver() as peer, client(source="203.0.113.9") as egress:
        answer = await send(egress, peer.url)
    assert answer.failure is Failure.LOCAL


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async def silent(reader: Reader, _writer: Writer) -> None:
        await read_request(reader)
        await asyncio.sleep(60)

    async with serve(silent) as peer, client(limit=30.0) as egress:
        task = asyncio.create_task(send(egress, peer.url))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not egress._connector._acquired


class _Proxy:
    """A proxy that tunnels, or forwards, everything to one peer whatever was asked for."""

    def __init__(self, target: int, refusal: bytes | None = None) -> None:
        self.heads: list[bytes] = []
        self._target = target
        self._refusal = refusal

    async def __call__(self, reader: Reader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self._refusal is not None:
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % self._refusal)
            await writer.drain()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            inner_writer.write(head)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: Reader, writer: Writer) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.transport.abort()


def _tls(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(name).configure_cert(context)
    return context


@asynccontextmanager
async def _through(
    proxy: _Proxy, policy: Policy = NOTHING_ALLOWED, found: str = PUBLIC
) -> AsyncIterator[tuple[Egress, Peer]]:
    """A client behind `proxy`; every name leads to `found`. Also the proxy's own peer."""
    async with serve(proxy) as entry, name_server(lambda _: [found]) as names:
        url = f"http://user:p%40ss@127.0.0.1:{entry.port}"
        async with client(policy, nameservers=(names.address,), proxy=url, limit=3.0) as egress:
            yield egress, entry


CREDENTIALS = b"Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss")


async def test_https_goes_through_the_proxy_to_the_judged_address() -> None:
    async with receiver(tls=_tls("hook.example.com")) as peer:
        proxy = _Proxy(peer.port)
        async with _through(proxy) as (egress, _):
            url = "https://hook.example.com/path"
            answers = [await send(egress, url, ca=CA.cert_pem.bytes()) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200], answers
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(f"CONNECT {PUBLIC}:443 HTTP/1.1".encode())
    assert CREDENTIALS in proxy.heads[0]
    assert b"host: hook.example.com\r\n" in peer.requests[0].lower()
    assert b"proxy-authorization" not in peer.requests[0].lower()


async def test_the_proxy_cannot_stand_in_for_the_host() -> None:
    async with (
        receiver(tls=_tls("proxy.example.com")) as peer,
        _through(_Proxy(peer.port)) as (egress, _),
    ):
        answer = await send(egress, "https://hook.example.com/", ca=CA.cert_pem.bytes())
    assert answer.failure is Failure.TLS
    assert not peer.requests


async def test_http_goes_through_the_proxy_by_name() -> None:
    async with receiver() as peer:
        proxy = _Proxy(peer.port)
        async with _through(proxy) as (egress, _):
            answer = await send(egress, "http://hook.example.com/path")
    assert (answer.status, answer.failure) == (200, None)
    assert proxy.heads[0].startswith(b"POST http://hook.example.com/path HTTP/1.1")
    assert CREDENTIALS in proxy.heads[0]


@pytest.mark.acceptance("W07")
@pytest.mark.parametrize("url", ["https://hook.example.com/", "http://hook.example.com/", "http://10.0.0.1/"])
async def test_a_denied_target_never_reaches_the_proxy(url: str) -> None:
    async with _through(_Proxy(0), found="10.0.0.1") as (egress, entry):
        answer = await send(egress, url)
    assert answer.failure is Failure.BLOCKED_ADDRESS
    assert entry.connections == 0


@pytest.mark.parametrize(
    ("refusal", "failure"),
    [
        (b"502 Bad Gateway", Failure.UNREACHABLE),
        (b"504 Gateway Timeout", Failure.UNREACHABLE),
        (b"403 Forbidden", Failure.PROXY),
        (b"407 Proxy Authentication Required", Failure.PROXY),
    ],
)
async def test_a_refusal_by_the_proxy_is_told_apart(refusal: bytes, failure: Failure) -> None:
    async with _through(_Proxy(0, refusal)) as (egress, _):
        answer = await send(egress, "https://hook.example.com/")
    assert answer.failure is failure
    assert "p@ss" not in answer.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.invalid"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_lost_proxy_is_our_fault(host: str, scheme: str) -> None:
    answers = {"hook.example.com": [PUBLIC]}
    async with name_server(lambda name: answers.get(name, [])) as names:
        proxy = f"http://{host}:{closed_port()}"
        async with client(NOTHING_ALLOWED, nameservers=(names.address,), proxy=proxy, limit=3.0) as egress:
            answer = await send(egress, f"{scheme}://hook.example.com/")
    assert answer.failure is Failure.PROXY


@pytest.mark.parametrize("url", ["https://proxy:1", "socks5://proxy:1", "http://", "http://proxy:1/path", "proxy:1"])
async def test_a_proxy_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="an egress proxy is"):
        Egress(LOOPBACK, Options(proxy=url))


def test_secrets_of_the_proxy_are_not_shown() -> None:
    assert "p%40ss" not in repr(Options(proxy="http://user:p%40ss@proxy:1"))


def test_it_works_on_uvloop_too() -> None:
    async def scenario() -> list[Answer]:
        async with receiver(tls=_tls("localhost")) as peer, client(limit=2.0) as egress:
            url, ca = f"https://localhost:{peer.port}/", CA.cert_pem.bytes()
            good = [await send(egress, url, ca=ca) for _ in range(2)]
            egress.policy = replace(LOOPBACK, allow=parse_allow_list(["127.0.0.9"]), ports=ANY_PORT)
            blocked = await send(egress, f"http://127.0.0.1:{peer.port}/")
            refused = await send(egress, f"http://127.0.0.9:{closed_port()}/")
            return [*good, blocked, refused]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(scenario())
    assert [(answer.status, answer.failure) for answer in answers] == [
        (200, None),
        (200, None),
        (None, Failure.BLOCKED_ADDRESS),
        (None, Failure.REFUSED),
    ]
