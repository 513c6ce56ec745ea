"""TLS: names and authorities verified, 1.2 at least, and a reason for each failure."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from app.domain.outcome import Failure
from app.kit.egress import Answer, Outgoing
from app.kit.egress.tls import pin_of
from tests.egress.peers import OK, Peer, Reader, Writer, client, receiver, send, serve

pytestmark = pytest.mark.acceptance("W10")

CA = trustme.CA()
OTHER_CA = trustme.CA()
TRUSTED = CA.cert_pem.bytes()
TLS_1_1 = ssl.TLSVersion.TLSv1_1


def _context(issued: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


def _good() -> ssl.SSLContext:
    return _context(CA.issue_cert("localhost", "127.0.0.1"))


def _expired() -> ssl.SSLContext:
    past = datetime.now(UTC) - timedelta(days=1)
    return _context(CA.issue_cert("localhost", not_after=past))


def _old_protocol() -> ssl.SSLContext:
    context = _good()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = TLS_1_1
    return context


def _odd_cipher() -> ssl.SSLContext:
    context = _good()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("NULL-SHA256:@SECLEVEL=0")
    return context


@asynccontextmanager
async def _endpoint(tls: ssl.SSLContext) -> AsyncIterator[Peer]:
    """A TLS endpoint; failed handshakes are expected, so the loop need not report them."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    try:
        async with receiver(tls=tls) as peer:
            yield peer
    finally:
        loop.set_exception_handler(None)


async def _ask(tls: ssl.SSLContext, ca: bytes | None = TRUSTED, host: str = "localhost") -> tuple[Answer, Peer]:
    async with _endpoint(tls) as peer, client(limit=3.0) as egress:
        return await send(egress, f"https://{host}:{peer.port}/hook", ca=ca), peer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_custom_authority_is_accepted(host: str) -> None:
    answer, peer = await _ask(_good(), host=host)
    assert (answer.status, answer.failure) == (200, None)
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    ("make", "ca", "said"),
    [
        pytest.param(_expired, TRUSTED, "expired", id="expired"),
        pytest.param(_good, None, "certificate", id="self-signed"),
        pytest.param(_good, OTHER_CA.cert_pem.bytes(), "certificate", id="another-authority"),
        pytest.param(lambda: _context(CA.issue_cert("other.example")), TRUSTED, "mismatch", id="wrong-name"),
        pytest.param(_old_protocol, TRUSTED, "handshake", id="tls-1.1"),
        pytest.param(_odd_cipher, TRUSTED, "handshake", id="cipher-mismatch"),
        pytest.param(_good, b"no pem", "CA certificate", id="bad-authority"),
        pytest.param(_good, b"", "CA certificate", id="empty-authority"),
    ],
)
async def test_a_bad_peer_gets_nothing(make: object, ca: bytes | None, said: str) -> None:
    assert callable(make)
    answer, peer = await _ask(make(), ca)
    assert (answer.status, answer.failure) == (None, Failure.TLS)
    assert said in answer.detail
    assert not peer.requests


async def test_the_old_server_of_these_tests_does_speak_to_old_clients() -> None:
    old = ssl.create_default_context(cadata=TRUSTED.decode())
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
    async with _endpoint(_old_protocol()) as peer:
        _, writer = await asyncio.open_connection("127.0.0.1", peer.port, ssl=old, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").version() in {"TLSv1", "TLSv1.1"}
        writer.transport.abort()


async def _stall(_reader: Reader, _writer: Writer) -> None:
    await asyncio.sleep(60)


async def _close(reader: Reader, _writer: Writer) -> None:
    await reader.read(100)


async def _plain(reader: Reader, writer: Writer) -> None:
    await reader.read(100)
    writer.write(OK)
    await writer.drain()


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [(_stall, Failure.TIMEOUT), (_close, Failure.TLS), (_plain, Failure.TLS)],
)
async def test_a_broken_handshake_is_over_in_time(behaviour: object, failure: Failure) -> None:
    assert callable(behaviour)
    async with serve(behaviour) as peer, client(limit=1.0) as egress:
        answer = await send(egress, f"https://localhost:{peer.port}/", ca=TRUSTED)
        assert answer.failure is failure, answer
        assert answer.duration_ms < 1800
        assert not egress._connector._acquired
        assert peer.connections in {1, 2}


async def test_https_never_falls_back_to_http() -> None:
    async with receiver() as plain, client() as egress:
        answer = await send(egress, f"https://127.0.0.1:{plain.port}/", ca=TRUSTED)
    assert answer.failure in {Failure.TLS, Failure.TIMEOUT}
    assert plain.connections
    assert not plain.requests


async def test_the_url_decides_the_name_that_is_verified() -> None:
    issued = CA.issue_cert("localhost")
    answer, peer = await _ask(_context(issued), host="127.0.0.1")
    assert answer.failure is Failure.TLS
    assert not peer.requests


async def test_a_pinned_key_must_be_the_peers() -> None:
    issued, other = CA.issue_cert("localhost"), CA.issue_cert("localhost")
    pins = [pin_of(ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())) for leaf in (issued, other)]
    async with _endpoint(_context(issued)) as peer, client(limit=3.0) as egress:
        url = f"https://localhost:{peer.port}/"
        kept = await egress.post(Outgoing(url, b"", {}, "ep", TRUSTED, frozenset({pins[0]})))
        revoked = await egress.post(Outgoing(url, b"", {}, "ep", TRUSTED, frozenset({pins[1]})))
    assert (kept.status, kept.failure) == (200, None)
    assert (revoked.status, revoked.failure) == (None, Failure.TLS)
    assert "pinned" in revoked.detail
    assert len(peer.requests) == 1


async def test_a_changed_authority_is_not_served_by_a_kept_connection() -> None:
    async with _endpoint(_good()) as peer, client(limit=3.0) as egress:
        url = f"https://localhost:{peer.port}/"
        first = await send(egress, url, ca=TRUSTED)
        second = await send(egress, url, ca=OTHER_CA.cert_pem.bytes())
    assert first.status == 200
    assert second.failure is Failure.TLS
