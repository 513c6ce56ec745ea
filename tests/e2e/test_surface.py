"""What the real server says around the answers of the app."""

import http.client
import socket
from urllib.parse import urlsplit

import pytest

from app.kit.surface.answers import headers_of
from tests.system import System


def answered(system: System, data: bytes) -> http.client.HTTPResponse:
    """The head of the answer to these bytes."""
    parts = urlsplit(system.url)
    with socket.create_connection((parts.hostname, parts.port or 0), 10) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer


@pytest.mark.acceptance("H04")
@pytest.mark.acceptance("H10")
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /api/v1/app HTTP/1.1\r\nhost: localhost\r\n\r\n", 401),
        (b"POST /api/v1/app/x/msg HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}", 415),
        (b"GET /api/v1/app HTTP/1.1\r\nhost: evil.test\r\n\r\n", 400),
        (b"GET /api/v1/app HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 401),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_the_server_names_itself_nowhere(system: System, data: bytes, status: int) -> None:
    answer = answered(system, data)
    assert answer.status == status
    for name, value in headers_of():
        assert answer.getheader(name.decode()) == value.decode()
    assert answer.getheader("server") is None


@pytest.mark.acceptance("H06")
def test_the_server_believes_no_header_either(system: System) -> None:
    head = (
        b"GET /api/v1/app HTTP/1.1\r\nhost: localhost\r\nx-forwarded-proto: https\r\nx-forwarded-for: 1.2.3.4\r\n\r\n"
    )
    assert answered(system, head).getheader("strict-transport-security") is None


def test_a_connection_that_a_proxy_keeps_for_later_is_still_open_then(system: System) -> None:
    with pytest.raises(TimeoutError):
        idle(system, seconds=4)


def idle(system: System, *, seconds: float) -> None:
    """Waits so long for the server to say something, or to close, after it answered."""
    parts = urlsplit(system.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    connection.request("GET", "/api/v1/health/ping")
    connection.getresponse().read()
    with connection.sock as waiting:
        waiting.recv(1)
