"""A caller from outside, who sees each byte."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.deploy.edge.nginx import Edge

HOST = "hooks.example.com"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, with every header as often as it came."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def all_of(self, name: str) -> list[str]:
        """The values of a header."""
        return self.headers.get_all(name) or []

    def problem(self) -> dict[str, Any]:
        """The error in the form of the API."""
        assert self.headers["content-type"].partition(";")[0] == "application/json", self
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True, slots=True)
class Door:
    """Both listeners of a gateway."""

    edge: Edge
    trust: ssl.SSLContext

    def connect(self, *, tls: bool = True, trust: ssl.SSLContext | None = None, host: str = HOST) -> socket.socket:
        """A connection to one of them."""
        plain = socket.create_connection(("127.0.0.1", self.edge.https if tls else self.edge.http), timeout=30)
        if not tls:
            return plain
        try:
            return (trust or self.trust).wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    def ask(
        self,
        method: str,
        path: str,
        *,
        tls: bool = True,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(HOST)
        with self.connect(tls=tls) as connection.sock:
            connection.request(method, path, body, dict(headers or {}))
            return _read(connection.getresponse())

    def write(self, data: bytes, *, tls: bool = True) -> Reply | None:
        """The first answer to bytes as they are; None where the connection was cut instead."""
        with self.connect(tls=tls) as connection:
            connection.sendall(data)
            return read(connection)

    @contextmanager
    def dripping(self, first: bytes, *, tls: bool = True) -> Iterator[socket.socket]:
        """A connection on which something was begun."""
        with self.connect(tls=tls) as connection:
            connection.sendall(first)
            yield connection


def read(connection: socket.socket) -> Reply | None:
    """The next answer; None where there is none any more."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return None
    return _read(response)


def seconds_until_cut(connection: socket.socket, piece: bytes, pause: float, most: float) -> float:
    """How long a client can go on sending a piece after each pause, up to so many seconds."""
    began = time.monotonic()
    connection.settimeout(pause)
    while time.monotonic() - began < most:
        try:
            if piece:
                connection.sendall(piece)
            connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            pass
        break
    return time.monotonic() - began


def seconds_until_gone(connection: socket.socket, piece: bytes, pause: float, most: float) -> tuple[float, bytes]:
    """How long a client can go on sending, whatever it is answered, up to so many seconds; and the answer."""
    began, heard = time.monotonic(), b""
    connection.settimeout(pause)
    with suppress(ConnectionError, ssl.SSLError):
        while time.monotonic() - began < most:
            connection.sendall(piece)
            with suppress(TimeoutError):
                data = connection.recv(65536)
                heard += data
                if not data:
                    time.sleep(pause)
    return time.monotonic() - began, heard


def _read(response: http.client.HTTPResponse) -> Reply:
    return Reply(response.status, response.headers, response.read())
