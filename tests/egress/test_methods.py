"""Requests that are no POST, bodies that may be longer, and records that are no addresses."""

import httpx2
import pytest

from app.domain.outcome import Failure
from app.kit.egress import Egress, NameLookupError, Outgoing
from app.kit.egress.transport import EgressRefused, EgressTransport
from tests.egress.peers import NXDOMAIN, SERVFAIL, Reader, Writer, client, name_server, read_request, receiver, serve

LONG = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000


def over(egress: Egress, body_bytes: int = 1000) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=EgressTransport(egress, "own", body_bytes), trust_env=False)


async def test_a_get_has_no_body_and_says_what_kind_the_answer_is() -> None:
    async with client() as egress, receiver(LONG) as peer:
        answer = await egress.send(Outgoing(peer.url, b"", {}, "own", method="GET", body_bytes=200_000))
    assert (answer.status, len(answer.body), answer.content_type) == (200, 100_000, "application/json")
    assert peer.requests[0].startswith(b"GET /hook HTTP/1.1\r\n")
    assert b"content-length" not in peer.requests[0].lower()


async def test_a_body_is_cut_where_the_request_says() -> None:
    async with client() as egress, receiver(LONG) as peer:
        answer = await egress.send(Outgoing(peer.url, b"", {}, "own", method="GET", body_bytes=10))
        usual = await egress.post(Outgoing(peer.url, b"", {}, "own"))
    assert (answer.failure, len(answer.body), len(usual.body)) == (None, 10, 65536)


async def test_a_get_and_a_post_of_one_url_are_not_taken_for_each_other() -> None:
    async with client() as egress, receiver() as peer:
        for method in ("GET", "POST", "GET"):
            await egress.send(Outgoing(peer.url, b"", {}, "own", method=method))
    assert [one.split(b" ")[0] for one in peer.requests] == [b"GET", b"POST", b"GET"]


async def test_a_library_speaks_through_the_client_and_gets_its_answer() -> None:
    async with client() as egress, receiver() as peer, over(egress) as http:
        answer = await http.post(peer.url, data={"a": "1"}, headers={"authorization": "Basic eA=="})
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert b"\r\nauthorization: Basic eA==\r\n" in peer.requests[0]
    assert peer.requests[0].count(b"ost:") == 1


async def test_a_library_gets_no_longer_body_than_it_may_have() -> None:
    async with client() as egress, receiver(LONG) as peer, over(egress) as http:
        with pytest.raises(EgressRefused) as caught:
            await http.get(peer.url)
    assert caught.value.failure is Failure.TOO_LARGE


async def test_a_library_reaches_nothing_that_the_policy_forbids() -> None:
    async with client() as egress, over(egress) as http:
        with pytest.raises(EgressRefused) as caught:
            await http.get("http://10.0.0.1/")
    assert caught.value.failure is Failure.BLOCKED_ADDRESS


async def test_a_library_is_told_when_there_is_no_answer() -> None:
    async def silent(reader: Reader, _writer: Writer) -> None:
        await read_request(reader)

    async with client() as egress, serve(silent) as peer, over(egress) as http:
        with pytest.raises(EgressRefused) as caught:
            await http.get(peer.url)
    assert caught.value.failure is Failure.RESET


async def test_texts_of_a_name_are_read_as_they_are_now() -> None:
    async with (
        name_server(lambda name: SERVFAIL if name == "bad.test" else NXDOMAIN) as names,
        client(nameservers=(names.address,)) as egress,
    ):
        names.texts["a.test"] = ["one", "two words"]
        assert sorted(await egress.texts("a.test")) == ["one", "two words"]
        assert await egress.texts("none.test") == ()
        with pytest.raises(NameLookupError):
            await egress.texts("bad.test")


async def test_texts_that_never_come_are_not_waited_for() -> None:
    async with name_server(lambda _: None) as names, client(nameservers=(names.address,), limit=0.3) as egress:
        with pytest.raises(NameLookupError, match="in time"):
            await egress.texts("a.test")
