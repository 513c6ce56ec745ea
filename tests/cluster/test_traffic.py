"""The callers and the receiver of the rehearsals count as they say, against an installation of processes."""

import errno
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme

from tests import receiver
from tests.cluster.traffic import AGAIN, Database, Entry, Grounds, Scene, table
from tests.faults import client
from tests.faults.client import Book, Load, Target
from tests.faults.lab import running_receiver
from tests.faults.processes import wait_for
from tests.faults.receiver import Behaviour, Receipt
from tests.system import System, running_system

NAME = "postrider.staging.example.com"
TARGET = Target("t0", "key", "app_1")


@pytest.fixture(scope="module")
def system(environment: Mapping[str, str]) -> Iterator[System]:
    with running_system(environment, api=1, workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def grounds(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with running_receiver(tmp_path_factory.mktemp("receiver")) as receiver:
        database = Database(system.environment["POSTRIDER_DATABASE__WORKER_URL"])
        yield Grounds(Entry(system.url, "127.0.0.1"), database, receiver)


def test_every_message_comes_signed_though_first_tries_fail(grounds: Grounds) -> None:
    scene = Scene(grounds, "calm", behaviour=Behaviour(status=503, every=5))
    with scene.load(rate=40.0, count=40, connections=4) as load:
        book = load.join(60)
    scene.settle(60)
    verdict = scene.conclude(book, 1.0)
    assert (verdict.accepted, verdict.delivered, verdict.pending) == (40, 40, 0)
    assert not book.harmed()
    refused = [one for one in scene.receipts() if one.status == 503]
    assert len(refused) == 8
    assert f"{'calm':<30}{40:>9}{0:>7}" in table(grounds.rows)[-1]


def test_what_is_not_signed_by_its_endpoint_is_refused(grounds: Grounds) -> None:
    scene = Scene(grounds, "unsigned", tenants=1)
    (target,) = scene.targets
    grounds.receiver.trust(scene.path(target), "whsec_" + "bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBlbmRwb2ludA==")
    with scene.load(rate=40.0, count=2) as load:
        book = load.join(60)
    load.wait_accepted(2, 20)
    received = _wait_for_receipts(scene, 2)
    assert {one.status for one in received} == {401}
    verdict = scene.judge(book)
    assert (verdict.delivered, verdict.pending) == (0, 2)


def test_what_the_database_no_longer_owes_and_nobody_received_is_lost(grounds: Grounds) -> None:
    scene = Scene(grounds, "forgotten", tenants=1, behaviour=Behaviour(status=500))
    with scene.load(rate=40.0, count=3) as load:
        book = load.join(60)
    _wait_for_receipts(scene, 3)
    assert scene.owed() == 3
    endpoint = scene._endpoints[0]
    grounds.database.query("DELETE FROM due_deliveries WHERE endpoint_id = %s", endpoint)
    with pytest.raises(AssertionError, match="3 messages lost"):
        scene.conclude(book, 1.0)


def test_callers_find_the_name_at_the_address_and_know_whom_to_trust(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    for file, one in (("ca.pem", authority), ("stranger.pem", stranger)):
        one.cert_pem.write_to_path(tmp_path / file)
    with _server(authority) as server:
        url = f"https://{NAME}:{_port(server)}"
        known = Entry(url, "127.0.0.1", tmp_path / "ca.pem")
        assert known.call("key", "GET", "/app") == {"id": "msg_1"}
        assert _posted(known, 3).statuses == {202: 3}
        assert {one.headers["host"] for one in server.at("/api/v1/app/app_1/msg")} == {f"{NAME}:{_port(server)}"}
        unknown = Entry(url, "127.0.0.1", tmp_path / "stranger.pem")
        with pytest.raises(ssl.SSLCertVerificationError):
            unknown.call("key", "GET", "/app")
        assert _posted(unknown, 2).statuses == {0: 2}


@pytest.mark.parametrize(
    ("status", "harmed"), [(202, False), (404, False), (429, False), (500, True), (502, True), (503, True)]
)
def test_a_request_that_fails_is_harmed(tmp_path: Path, status: int, *, harmed: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with _server(authority, status) as server:
        book = _posted(Entry(f"https://{NAME}:{_port(server)}", "127.0.0.1", tmp_path / "ca.pem"), 1)
    assert len(book.harmed()) == (1 if harmed else 0)


@pytest.mark.parametrize(("answers", "harmed", "astray"), [(1, 0, 1), (0, 2, 0)])
def test_no_harm_is_done_by_closing_a_connection_that_rested(answers: int, harmed: int, astray: int) -> None:
    with _closing_server(answers) as port, _one_by_one(port) as load:
        book = load.join(20)
    assert (len(book.harmed()), book.astray) == (harmed, astray)


@pytest.mark.parametrize(
    ("rested", "number", "astray"),
    [(True, errno.EPIPE, True), (False, errno.EPIPE, False), (True, errno.ECONNRESET, False)],
)
def test_what_was_still_being_written_is_known_to_be_unread_however_late(
    number: int, *, rested: bool, astray: bool
) -> None:
    passage = client._Passage()
    passage.rested, passage.written_at = rested, time.monotonic() - 60
    assert passage.was_closed(aiohttp.ClientOSError(number, "")) is astray


def _port(server: receiver.Receiver) -> int:
    return int(server.base.rpartition(":")[2])


@contextmanager
def _server(authority: trustme.CA, status: int = 202) -> Iterator[receiver.Receiver]:
    """What answers every request over TLS, under the name of the installation."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(tls)
    with receiver.Receiver(tls=tls) as server:
        for path in ("/api/v1/app", "/api/v1/app/app_1/msg"):
            server.tell(path, receiver.Answer(status, body=b'{"id": "msg_1"}'))
        yield server


@contextmanager
def _closing_server(answers: int) -> Iterator[int]:
    """What answers so many requests of each connection, and closes it when the next one comes."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(_close_after, listening, answers)
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        assert isinstance(serving.exception(5), OSError)


def _close_after(listening: socket.socket, answers: int) -> None:
    while True:
        connection, _ = listening.accept()
        with connection:
            for number in range(answers + 1):
                _read_request(connection)
                if number < answers:
                    connection.sendall(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}")


def _read_request(connection: socket.socket) -> None:
    seen = b""
    while b'"pad"' not in seen or not seen.endswith(b"}"):
        more = connection.recv(65536)
        if not more:
            return
        seen += more


def _one_by_one(port: int) -> Load:
    return Load(f"http://127.0.0.1:{port}", [TARGET], connections=1, count=2, retries=False)


def _posted(entry: Entry, count: int) -> Book:
    with Load(entry.url, [TARGET], count=count, connect=entry.connector, again=AGAIN, retries=False) as load:
        return load.join(20)


def _wait_for_receipts(scene: Scene, count: int) -> list[Receipt]:
    wait_for(lambda: len(scene.receipts()) >= count, 20, f"{count} receipts")
    return scene.receipts()
