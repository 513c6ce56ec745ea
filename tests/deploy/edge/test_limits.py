"""What is too large, too slow or too often is refused by the proxy, in the form of the API; what may take long, may."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.deploy.edge.client import HOST, Door, read, seconds_until_cut, seconds_until_gone
from tests.deploy.edge.conftest import Opening
from tests.deploy.edge.upstream import PIECES, Upstream
from tests.system import System

CUT_SECONDS = 15.0
LINE = f"POST /api/v1/app HTTP/1.1\r\nHost: {HOST}\r\n".encode()
# What a client begins with, and what it sends after each pause.
SLOW = {
    "silent": (b"", b""),
    "half a line": (b"GET / HT", b""),
    "half the headers": (LINE, b""),
    "headers that drip": (LINE + b"X-Slow: ", b"a"),
    "half a body": (LINE + b"Content-Length: 100\r\n\r\n{", b""),
    "half a chunk": (LINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b""),
}
DRIPS = {
    "a body": (b"Content-Length: 1000", b" "),
    "chunks": (b"Transfer-Encoding: chunked", b"1\r\n \r\n"),
}


@pytest.fixture(scope="module")
def own(opened: Opening, upstream: Upstream) -> Door:
    return opened(upstream.port)


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(door: Door) -> None:
    head = LINE + b"Content-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
    reply = door.write(head)
    assert reply is not None
    assert reply.status == 413
    assert (reply.problem()["status"], reply.problem()["type"]) == (413, "urn:postrider:error:payload_too_large")


def test_an_error_of_the_proxy_has_the_form_and_the_headers_of_the_api(door: Door) -> None:
    own, theirs = door.ask("POST", "/api/v1/app", body=b"x" * 3_000_000), door.ask("GET", "/api/v1/app")
    assert set(own.problem()) == set(theirs.problem())
    assert own.headers["x-request-id"] == own.problem()["requestId"]
    assert own.headers["cache-control"] == theirs.headers["cache-control"]
    assert own.headers["x-content-type-options"] == theirs.headers["x-content-type-options"]


@pytest.fixture(scope="module")
def slow_ones(door: Door) -> Iterator[dict[tuple[str, bool], Future[float]]]:
    """How long each slow client could go on, in seconds: all at once, for each goes on for as long as it may."""
    with ThreadPoolExecutor(2 * len(SLOW)) as pool:
        yield {(name, tls): pool.submit(dripped, door, name, tls) for name in SLOW for tls in (True, False)}


def dripped(door: Door, name: str, tls: bool) -> float:  # noqa: FBT001  # a column of the table
    """How long one slow client could go on, in seconds."""
    first, piece = SLOW[name]
    with door.dripping(first, tls=tls) as connection:
        return seconds_until_cut(connection, piece, pause=1.0, most=CUT_SECONDS + 15)


@pytest.mark.acceptance("H13")
@pytest.mark.timeout(90)
@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("name", SLOW)
def test_a_slow_client_is_cut(slow_ones: dict[tuple[str, bool], Future[float]], name: str, tls: bool) -> None:  # noqa: FBT001  # a column of the table
    assert slow_ones[name, tls].result() <= CUT_SECONDS


@pytest.fixture(scope="module")
def dripping_ones(door: Door, api: System) -> Iterator[dict[tuple[str, bool], Future[tuple[float, bytes]]]]:
    """How long each client whose pieces come soon could go on, in seconds, and what it was answered; all at once."""
    known = api.new_tenant().key
    with ThreadPoolExecutor(2 * len(DRIPS)) as pool:
        yield {(name, key == known): pool.submit(gone, door, name, key) for name in DRIPS for key in (known, "nobody")}


def gone(door: Door, name: str, key: str) -> tuple[float, bytes]:
    """How long one such client could go on, in seconds, and what it was answered."""
    framing, piece = DRIPS[name]
    head = LINE + f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n".encode()
    with door.dripping(head + framing + b"\r\n\r\n") as connection:
        return seconds_until_gone(connection, piece, pause=0.5, most=CUT_SECONDS + 15)


@pytest.mark.acceptance("H13")
@pytest.mark.timeout(90)
@pytest.mark.parametrize("known", [True, False], ids=["read", "never read"])
@pytest.mark.parametrize("name", DRIPS)
def test_what_drips_is_cut_however_soon_its_pieces_come(
    dripping_ones: dict[tuple[str, bool], Future[tuple[float, bytes]]], name: str, *, known: bool
) -> None:
    """No pause is too long. Whom the API does not know is answered before the body is there, and goes on sending."""
    seconds, heard = dripping_ones[name, known].result()
    assert heard.startswith(b"HTTP/1.1 408 " if known else b"HTTP/1.1 401 ")
    assert heard.endswith(b"}")
    assert seconds <= CUT_SECONDS


def test_an_address_that_asks_too_often_is_refused_in_the_form_of_the_api(opened: Opening, upstream: Upstream) -> None:
    limited = opened(upstream.port, 'gateway.nginx.rateLimit={"rate":"1r/m","burst":3}')
    replies = [limited.ask("GET", "/204") for _ in range(6)]
    assert [reply.status for reply in replies] == [204, 204, 204, 204, 429, 429]
    assert replies[-1].problem()["type"] == "urn:postrider:error:limit_reached"
    assert replies[-1].headers["retry-after"] == "1"


def test_a_limit_that_is_only_counted_refuses_nobody(opened: Opening, upstream: Upstream) -> None:
    free = opened(upstream.port, 'gateway.nginx.rateLimit={"rate":"1r/m","burst":1,"dryRun":true}')
    assert [free.ask("GET", "/204").status for _ in range(5)] == [204] * 5


def test_a_connection_that_is_upgraded_goes_both_ways(own: Door) -> None:
    with own.connect() as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode())
        assert b"101" in connection.recv(65536)
        for word in (b"one\n", b"two\n"):
            connection.sendall(word)
            assert connection.recv(100) == word.upper()


def test_what_is_streamed_comes_piece_by_piece(own: Door, upstream: Upstream) -> None:
    with own.connect() as connection:
        connection.sendall(f"GET /stream HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        for piece in PIECES:
            assert piece in _until(connection, piece)
            upstream.go_on.release()


def test_a_good_request_follows_another_on_one_connection(door: Door) -> None:
    with door.connect() as connection:
        for _ in range(2):
            connection.sendall(f"GET /api/v1/app HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            reply = read(connection)
            assert reply is not None
            assert reply.status == 401


def _until(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes until what is wanted is there; it must come before the upstream goes on."""
    found = b""
    connection.settimeout(10)
    with suppress(TimeoutError):
        while wanted not in found:
            found += connection.recv(65536)
    return found
