"""However requests are framed, cut into pieces and sent ahead of their answers, each is answered as it should be."""

import http.client
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.client import Reply
from tests.api.operations import is_problem
from tests.e2e.customer import Caller, Customer
from tests.system import System

RUNS = {True: 100, False: 1500}
SECONDS = 20.0
BAD_FRAMES = (
    b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    b"content-length: 2, 2\r\n\r\n{}",
    b"content-length: +2\r\n\r\n{}",
    b"content-length : 2\r\n\r\n{}",
    b" content-length: 2\r\n\r\n{}",
)
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Asked:
    """A request and how it must be answered."""

    method: str
    path: str
    body: bytes
    status: int


@dataclass(frozen=True)
class Framed:
    """A request with the sizes of the chunks that its body is sent in; without any its length is announced."""

    asked: Asked
    chunks: Sequence[int]

    def wire(self, key: str) -> bytes:
        """What goes over the wire."""
        head = f"{self.asked.method} /api/v1{self.asked.path} HTTP/1.1\r\nhost: localhost\r\n"
        head += f"authorization: Bearer {key}\r\n"
        if not self.asked.body:
            return head.encode() + b"\r\n"
        head += "content-type: application/json\r\n"
        if not self.chunks:
            return f"{head}content-length: {len(self.asked.body)}\r\n\r\n".encode() + self.asked.body
        return f"{head}transfer-encoding: chunked\r\n\r\n".encode() + self._chunked()

    def _chunked(self) -> bytes:
        rest, sent = self.asked.body, b""
        for size in self.chunks:
            piece, rest = rest[:size], rest[size:]
            sent += b"%x;a=b\r\n%b\r\n" % (len(piece), piece) if piece else b""
        return sent + b"%x\r\n%b\r\n" % (len(rest), rest) * bool(rest) + b"0\r\nx-trailer: y\r\n\r\n"


@pytest.fixture
def customer(system: System) -> Customer:
    return Customer(Caller(system.url, system.new_tenant().key))


def test_answers_come_in_order_however_requests_arrive(customer: Customer, bounded: bool) -> None:  # noqa: FBT001  # a fixture
    framed = st.builds(Framed, st.sampled_from(asked_of(customer)), st.lists(st.integers(1, 40), max_size=4))

    @settings(max_examples=RUNS[bounded], derandomize=bounded, deadline=None)
    @given(requests=st.lists(framed, min_size=1, max_size=6), cuts=st.lists(st.integers(1, 300), max_size=6))
    def send(requests: Sequence[Framed], cuts: Sequence[int]) -> None:
        with connected(customer) as connection:
            rest = b"".join(one.wire(customer.api.key) for one in requests)
            for cut in cuts:
                connection.sendall(rest[:cut])
                rest = rest[cut:]
                time.sleep(0.001)
            connection.sendall(rest)
            for one in requests:
                reply = answer(connection, one.asked.method)
                assert reply.status == one.asked.status, reply.raw
                assert reply.status < 400 or is_problem(reply, reply.status), reply.raw

    send()


@pytest.mark.parametrize("frame", BAD_FRAMES)
@pytest.mark.parametrize("query", ["", "?with_content=true"])
def test_a_frame_that_can_be_read_in_two_ways_is_refused_with_what_follows(
    customer: Customer, frame: bytes, query: str
) -> None:
    path = f"/app/{customer.app}/msg{query}"
    head = f"POST /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {customer.api.key}\r\n"
    smuggled = Framed(Asked("POST", "/app", b'{"name":"smuggled","uid":"smuggled"}', 201), ()).wire(customer.api.key)
    with connected(customer) as connection:
        connection.sendall(f"{head}content-type: application/json\r\n".encode() + frame + smuggled)
        assert is_problem(answer(connection, "POST"), 400)
        # It hangs up, with or without having read everything.
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert customer.api.call("GET", "/app/smuggled").status == 404


def test_a_body_that_comes_byte_by_byte_is_waited_for(customer: Customer) -> None:
    asked = Framed(Asked("POST", f"/app/{customer.app}/msg", b'{"eventType":"a","payload":{"slow":1}}', 202), ())
    for slow in (asked, Framed(asked.asked, [1] * 30)):
        with connected(customer) as connection:
            for byte in slow.wire(customer.api.key):
                connection.sendall(bytes([byte]))
                time.sleep(0.0005)
            assert answer(connection, "POST").body["payload"] == {"slow": 1}


def asked_of(customer: Customer) -> list[Asked]:
    """Requests of which each answer is known, whatever was asked before."""
    messages = f"/app/{customer.app}/msg"
    payload = b'{"eventType":"a","payload":{"text":"' + b"x" * 50 + b'"}}'
    return [
        Asked("GET", "/app", b"", 200),
        Asked("GET", "/app?limit=0", b"", 422),
        Asked("GET", "/app?limit=x", b"", 400),
        Asked("GET", "/nothing", b"", 404),
        Asked("HEAD", "/health", b"", 200),
        Asked("POST", "/app", b'{"name":"made"}', 201),
        Asked("POST", "/app", b'{"name":""}', 422),
        Asked("POST", "/app", b'{"name":"\xff"}', 422),
        Asked("PUT", "/app", b"{}", 405),
        Asked("POST", messages, payload, 202),
        Asked("POST", f"{messages}?with_content=false", payload, 202),
        Asked("POST", messages, payload[:-1], 422),
        Asked("POST", f"{messages}?with_content=x", payload, 400),
        Asked("POST", "/app/nobody/msg", payload, 404),
    ]


@contextmanager
def connected(customer: Customer) -> Iterator[socket.socket]:
    """A connection to the API."""
    where = urlsplit(customer.api.base)
    with socket.create_connection((where.hostname, where.port), SECONDS) as connection:
        yield connection


class _ByteByByte:
    """What http.client reads from: it takes no more than the answer, so that the next one is left."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def makefile(self, *_: Any) -> Any:  # noqa: ANN401  # a file
        return self._connection.makefile("rb", buffering=0)


def answer(connection: socket.socket, method: str) -> Reply:
    """The next answer on a connection."""
    response = http.client.HTTPResponse(_ByteByByte(connection), method=method)  # type: ignore[arg-type]  # all it uses
    response.begin()
    return Reply(response.status, dict(response.getheaders()), response.read())
