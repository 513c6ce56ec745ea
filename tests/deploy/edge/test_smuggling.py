"""No bytes are one request to the proxy and two to the API: what can be read in two ways is refused."""

import json
import socket
from contextlib import suppress

import pytest

from tests.api.client import Tenant
from tests.deploy.edge.client import HOST, Door, read
from tests.deploy.edge.conftest import Opening, port_of
from tests.deploy.edge.upstream import Upstream
from tests.system import System

BODY = b'{"name":"smuggled","uid":"smuggled"}'
# What stands after a request's line and its Host, up to where the smuggled request begins, and how it is refused.
TWO_WAYS = {
    "a length and chunks": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks and a length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 7\r\n\r\n", 400),
    "one length twice": (b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
    "a list of lengths": (b"Content-Length: 0, 0\r\n\r\n", 400),
    "a length with a sign": (b"Content-Length: +0\r\n\r\n", 400),
    "a line that goes on": (b"X-One: a\r\n Content-Length: 0\r\n\r\n", 400),
    "chunks on a line that goes on": (b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "a space before the colon": (b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "an encoding that is none": (b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "two encodings": (b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
    "a lone CR": (b"X-One: a\rContent-Length: 0\r\n\r\n", 400),
    "a NUL": (b"X-One: a\0b\r\n\r\n", 400),
    "no size of a chunk": (b"Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n", 400),
    "a lone LF and both lengths": (b"Content-Length: 5\nTransfer-Encoding: chunked\n\n0\r\n\r\n", 400),
}


@pytest.fixture(scope="module")
def tenant(api: System) -> Tenant:
    return api.new_tenant()


@pytest.mark.acceptance("H14")
@pytest.mark.parametrize(("frame", "status"), TWO_WAYS.values(), ids=TWO_WAYS)
def test_what_can_be_read_in_two_ways_is_refused_with_what_follows(
    door: Door, tenant: Tenant, frame: bytes, status: int
) -> None:
    with door.connect() as connection:
        connection.sendall(_head("POST", tenant) + frame + _smuggled(tenant))
        reply = read(connection)
        assert reply is not None
        assert reply.status == status
        # It hangs up, with or without having read everything.
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert _names(door, tenant) == []


@pytest.mark.acceptance("H14")
def test_a_lone_line_feed_is_refused_by_the_api_and_handed_on_by_nobody(
    door: Door, api: System, tenant: Tenant
) -> None:
    """NGINX takes one for the end of a line, as it may; what it passes on are lines of its own."""
    asked = _head("GET", tenant).replace(b"\r\n", b"\n") + b"\n"
    reply = door.write(asked)
    assert reply is not None
    assert reply.status == 200
    with socket.create_connection(("127.0.0.1", port_of(api))) as connection:
        connection.sendall(asked)
        refused = read(connection)
    assert refused is not None
    assert refused.status == 400


@pytest.mark.acceptance("H14")
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 3", b"abc"),
        (b"Transfer-Encoding: chunked", b"3;x=y\nabc\n0\nX-Two: b\n\n"),
    ],
    ids=["a length", "chunks"],
)
def test_what_nginx_passes_on_has_one_end_and_no_lone_line_feed(
    opened: Opening, upstream: Upstream, framing: bytes, body: bytes
) -> None:
    """The head goes before the body is there. Chunks are NGINX's own, without what callers add to theirs."""
    with opened(upstream.port).connect() as connection:
        connection.sendall(f"POST /204 HTTP/1.1\nHost: {HOST}\nX-One: a\n".encode() + framing + b"\n\n")
        raw = upstream.heads.get(timeout=10)
        connection.sendall(body)
        reply = read(connection)
    assert raw.count(b"\n") == raw.count(b"\r\n")
    ends = [line for line in raw.lower().splitlines(keepends=True) if line.startswith((b"content-l", b"transfer-e"))]
    assert ends == [framing.lower() + b"\r\n"]
    assert reply is not None
    assert reply.status == 204


def _head(method: str, tenant: Tenant) -> bytes:
    head = f"{method} /api/v1/app HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {tenant.key}\r\n"
    return f"{head}Content-Type: application/json\r\n".encode()


def _smuggled(tenant: Tenant) -> bytes:
    return _head("POST", tenant) + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


def _names(door: Door, tenant: Tenant) -> list[str]:
    """What applications there are."""
    reply = door.ask("GET", "/api/v1/app", headers={"authorization": f"Bearer {tenant.key}"})
    return [one["name"] for one in json.loads(reply.body)["data"]]
