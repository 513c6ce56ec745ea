"""Endpoints that mean harm: each is over within the limit, in little memory, and classified."""

import asyncio
import gzip
import itertools
import resource
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.domain.outcome import Failure
from app.kit.egress import BODY_BYTES, Answer
from tests.egress.peers import OK, Behaviour, Reader, Writer, client, read_request, receiver, send, serve

LIMIT = 1.0
SLACK = 0.8
MEMORY = 32 * 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\n"


async def _flood(writer: Writer, first: bytes, again: bytes) -> None:
    writer.write(first)
    while True:
        writer.write(again)
        await writer.drain()


async def _drip(writer: Writer, first: bytes, piece: bytes) -> None:
    writer.write(first)
    while True:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_body(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    await _flood(writer, HEAD + b"\r\n", b"x" * 65536)


async def dripped_body(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    await _drip(writer, HEAD + b"Content-Length: 1000\r\n\r\n", b"x")


async def dripped_headers(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    await _drip(writer, HEAD, b"x-a: b\r\n")


async def long_header_line(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    writer.write(HEAD + b"x-long: " + b"a" * 10_000_000 + b"\r\n\r\n")
    await writer.drain()
    await asyncio.sleep(60)


async def many_headers(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    writer.write(HEAD + b"".join(b"x-%d: y\r\n" % number for number in range(200_000)) + b"\r\n")
    await writer.drain()
    await asyncio.sleep(60)


async def endless_interim(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    await _flood(writer, b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 500)


async def gzip_bomb(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    bomb = gzip.compress(b"\0" * 20_000_000)
    writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)
    await writer.drain()
    await asyncio.sleep(60)


async def long_chunk_extension(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    await _flood(writer, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;", b"e" * 65536)


async def silent(reader: Reader, _writer: Writer) -> None:
    await read_request(reader)
    await asyncio.sleep(60)


async def never_reading(_reader: Reader, writer: Writer) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(60)


async def reset(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    _linger_zero(writer)


async def reset_mid_body(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\npart")
    await writer.drain()
    await asyncio.sleep(0.1)
    _linger_zero(writer)


def _linger_zero(writer: Writer) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def half_close(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    writer.write_eof()
    await asyncio.sleep(60)


async def short_body(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\nshort")
    await writer.drain()


async def garbage(_reader: Reader, writer: Writer) -> None:
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 400)
    await writer.drain()
    await asyncio.sleep(60)


async def both_lengths(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    writer.write(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + OK)
    await writer.drain()
    await asyncio.sleep(60)


async def cookie_flood(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    cookies = b"".join(b"Set-Cookie: c%d=%s\r\n" % (number, b"v" * 900) for number in range(100))
    writer.write(HEAD + cookies + b"Content-Length: 2\r\n\r\nok")
    await writer.drain()
    await asyncio.sleep(60)


async def bad_chunk(reader: Reader, writer: Writer) -> None:
    await read_request(reader)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    await writer.drain()
    await asyncio.sleep(60)


@dataclass(frozen=True)
class Case:
    behaviour: Behaviour
    status: int | None
    failures: frozenset[Failure | None]


def _case(behaviour: Behaviour, status: int | None, *failures: Failure | None) -> object:
    name = getattr(behaviour, "__name__", "")
    return pytest.param(Case(behaviour, status, frozenset(failures)), id=name)


CASES = [
    _case(endless_body, 200, None),
    _case(dripped_body, 200, Failure.TIMEOUT),
    _case(dripped_headers, None, Failure.TIMEOUT),
    _case(long_header_line, None, Failure.TOO_LARGE),
    _case(many_headers, None, Failure.PROTOCOL),
    _case(endless_interim, None, Failure.TOO_LARGE),
    _case(gzip_bomb, 200, None),
    _case(long_chunk_extension, 200, Failure.TOO_LARGE),
    _case(silent, None, Failure.TIMEOUT),
    _case(never_reading, None, Failure.TIMEOUT),
    _case(reset, None, Failure.RESET),
    _case(reset_mid_body, 200, Failure.PROTOCOL),
    _case(half_close, None, Failure.RESET),
    _case(short_body, 200, Failure.PROTOCOL),
    _case(garbage, None, Failure.PROTOCOL),
    _case(both_lengths, None, Failure.PROTOCOL),
    _case(cookie_flood, 200, None),
    _case(bad_chunk, None, Failure.PROTOCOL),
]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def _attack(behaviour: Behaviour) -> tuple[Answer, float]:
    body = b"b" * (6 * 1024 * 1024 if behaviour is never_reading else 1024)
    async with serve(behaviour) as peer, client(limit=LIMIT) as egress:
        started = time.monotonic()
        answer = await send(egress, peer.url, body)
        took = time.monotonic() - started
        assert not egress._connector._acquired
        return answer, took


@pytest.mark.acceptance("W11")
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("case", CASES)
async def test_a_hostile_endpoint_is_bounded_and_classified(case: Case) -> None:
    before = _peak()
    answer, took = await _attack(case.behaviour)
    assert took < LIMIT + SLACK
    assert _peak() - before < MEMORY
    assert answer.failure in case.failures, answer
    assert answer.status == case.status
    assert len(answer.body) <= BODY_BYTES
    assert (answer.failure is None) == (answer.detail == "")
    assert answer.duration_ms <= (LIMIT + SLACK) * 1000


@pytest.mark.acceptance("W11")
async def test_a_body_is_cut_and_never_decompressed() -> None:
    answer, _ = await _attack(endless_body)
    assert answer.body == b"x" * BODY_BYTES
    answer, _ = await _attack(gzip_bomb)
    assert answer.body[:2] == b"\x1f\x8b"


@pytest.mark.acceptance("W11")
async def test_the_endpoint_is_asked_not_to_compress() -> None:
    async with receiver() as peer, client() as egress:
        await send(egress, peer.url)
    assert b"accept-encoding: identity\r\n" in peer.requests[0].lower()


@pytest.mark.acceptance("W05")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_never_followed(status: int) -> None:
    async with receiver() as canary:
        moved = b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, canary.url.encode())
        async with receiver(moved) as peer, client() as egress:
            answer = await send(egress, peer.url)
    assert (answer.status, answer.failure) == (status, None)
    assert canary.connections == 0


async def test_cookies_are_not_kept() -> None:
    setting = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with receiver(setting) as peer, client() as egress:
        await send(egress, peer.url)
        await send(egress, peer.url)
    assert not any(b"cookie" in request.lower() for request in peer.requests)
    assert len(peer.requests) == 2


async def test_what_came_before_a_failure_is_kept() -> None:
    answer, _ = await _attack(short_body)
    assert answer.body == b"short"
    assert answer.remote == "127.0.0.1"


async def test_a_hanging_endpoint_does_not_slow_another() -> None:
    async with serve(silent) as hanging, receiver() as healthy, client(limit=LIMIT) as egress:
        stuck = [asyncio.create_task(send(egress, hanging.url, pool=f"stuck{n}")) for n in range(100)]
        await asyncio.sleep(0.2)
        answers = [await send(egress, healthy.url, pool="healthy") for _ in range(50)]
        assert not any(task.done() for task in stuck)
        assert {answer.status for answer in answers} == {200}
        assert {answer.failure for answer in await asyncio.gather(*stuck)} == {Failure.TIMEOUT}


async def test_sockets_of_hostile_endpoints_are_gone_at_once() -> None:
    ended = asyncio.Event()

    async def watching(reader: Reader, writer: Writer) -> None:
        writer.write(HEAD + b"Content-Length: 100000000\r\n\r\n" + b"x" * 100_000)
        try:
            for _ in itertools.count():
                if not await reader.read(65536):
                    break
        except OSError:
            pass
        ended.set()

    async with serve(watching) as peer, client(limit=LIMIT) as egress:
        answer = await send(egress, peer.url)
        assert answer.failure is None
        await asyncio.wait_for(ended.wait(), 0.5)


def _sockets() -> set[str]:
    """The open sockets, by names that are not used again as numbers of files are."""
    found = set()
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the file by which the folder was read
            found.add(str(file.readlink()))
    return {name for name in found if name.startswith("socket:")}


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_peer_that_never_reads_holds_no_socket_of_ours() -> None:
    async with serve(never_reading) as peer, client(limit=LIMIT) as egress:
        before = _sockets()
        answer = await send(egress, peer.url, b"b" * 6 * 1024 * 1024)
        await asyncio.sleep(0.05)
        left = _sockets() - before
    assert answer.failure is Failure.TIMEOUT
    assert len(left) == 1  # the peer's own end


async def test_the_answer_tells_when_to_come_back() -> None:
    later = b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 4\r\n\r\nbusy"
    async with receiver(later) as peer, client() as egress:
        answer = await send(egress, peer.url)
    assert (answer.status, answer.failure, answer.retry_after, answer.body) == (503, None, "120", b"busy")
