"""Where requests may go: literals, names, changing answers, kept connections."""

import asyncio
import time
from dataclasses import replace

import pytest

from app.domain.addresses import parse_allow_list, parse_networks
from app.domain.outcome import Failure
from app.kit.egress import Answer, Egress, Policy
from tests.egress.peers import (
    ANY_PORT,
    LOOPBACK,
    NOTHING_ALLOWED,
    NXDOMAIN,
    SERVFAIL,
    Answers,
    NameServer,
    Peer,
    client,
    closed_port,
    name_server,
    receiver,
    send,
)
from tests.metrics import counting

LOOKUPS = "postrider_cache_requests_total"

EVERY_LOOPBACK = "0.0.0.0"  # noqa: S104 - 127.0.0.2 and 127.0.0.3 are asked for too
W07 = pytest.mark.acceptance("W07")
W08 = pytest.mark.acceptance("W08")
W09 = pytest.mark.acceptance("W09")

DENIED = [
    "0.0.0.0",  # noqa: S104 - a literal to be refused
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.0.0.2",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
DISGUISED = [
    "2130706433",
    "0177.0.0.1",
    "0x7f.1",
    "0x7f000001",
    "127.1",
    "127.0.0.1.",
    "%31%32%37.0.0.1",
    "user@127.0.0.1",
    "user:pw@127.0.0.1",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020.0.1",
    "\u2460\u2461\u2466.0.0.1",
    "[::ffff:7f00:1]",
    "[::1%25lo]",
    "[0:0:0:0:0:0:0:1]",
    "metadata.google.internal",
]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@W07
@pytest.mark.parametrize("address", DENIED)
async def test_a_denied_literal_is_blocked(address: str) -> None:
    async with client(NOTHING_ALLOWED) as egress, receiver() as canary:
        answer = await send(egress, f"http://{_host(address)}:{canary.port}/")
    assert (answer.status, answer.failure) == (None, Failure.BLOCKED_ADDRESS), answer
    assert canary.connections == 0


@W07
@pytest.mark.parametrize("host", DISGUISED)
async def test_a_disguised_literal_is_blocked(host: str) -> None:
    async with client(NOTHING_ALLOWED) as egress, receiver() as canary:
        answer = await send(egress, f"http://{host}:{canary.port}/")
    assert answer.failure is Failure.BLOCKED_ADDRESS, answer
    assert canary.connections == 0


@W07
@pytest.mark.parametrize("address", DENIED)
async def test_a_denied_answer_of_the_name_server_is_blocked(address: str) -> None:
    answer, canary = await _by_name(lambda _: [address], NOTHING_ALLOWED)
    assert answer.failure is Failure.BLOCKED_ADDRESS, answer
    assert address not in answer.detail
    assert canary.connections == 0


@W07
@pytest.mark.parametrize("denied", ["127.0.0.1", "::1", "169.254.169.254"])
async def test_one_denied_answer_among_permitted_ones_denies_the_host(denied: str) -> None:
    permitted = [f"93.184.216.{number}" for number in range(1, 40)]
    answer, canary = await _by_name(lambda _: [*permitted[:20], denied, *permitted[20:]], NOTHING_ALLOWED)
    assert answer.failure is Failure.BLOCKED_ADDRESS, answer
    assert canary.connections == 0


@W07
async def test_a_denied_answer_behind_an_alias_is_blocked() -> None:
    def answers(name: str) -> list[str]:
        return ["->inner.example.com"] if name == "hook.example.com" else ["127.0.0.1"]

    answer, canary = await _by_name(answers, NOTHING_ALLOWED)
    assert answer.failure is Failure.BLOCKED_ADDRESS, answer
    assert canary.connections == 0


@W07
@W08
async def test_rebinding_between_tries_is_blocked() -> None:
    turns = iter([["127.0.0.2"]] * 2)

    def answers(_: str) -> list[str]:
        return next(turns, ["127.0.0.1"])

    policy = Policy(allow=parse_allow_list(["127.0.0.2"]), ports=ANY_PORT)
    async with (
        name_server(answers) as names,
        receiver(host=EVERY_LOOPBACK) as peer,
        client(policy, nameservers=(names.address,), memory=0.0) as egress,
    ):
        first = await send(egress, f"http://hook.example.com:{peer.port}/")
        second = await send(egress, f"http://hook.example.com:{peer.port}/")
    assert (first.status, first.remote) == (200, "127.0.0.2")
    assert second.failure is Failure.BLOCKED_ADDRESS
    assert len(peer.requests) == 1


@W08
async def test_a_name_without_an_address_is_asked_for_again() -> None:
    now: list[str] = []
    async with (
        name_server(lambda _: now) as names,
        receiver() as peer,
        client(nameservers=(names.address,), memory=0.0) as egress,
    ):
        url = f"http://hook.example.com:{peer.port}/"
        assert (await send(egress, url)).failure is Failure.DNS
        now.append("127.0.0.1")
        async with asyncio.timeout(3):
            while (await send(egress, url)).status != 200:
                pass


@W08
async def test_a_connection_goes_to_the_judged_address_even_if_the_next_answer_differs() -> None:
    """The name is asked once for each try: no second look-up stands between judging and connecting."""
    async with (
        name_server(lambda _: ["127.0.0.1"]) as names,
        receiver() as peer,
        client(nameservers=(names.address,), memory=0.0) as egress,
    ):
        await send(egress, f"http://hook.example.com:{peer.port}/")
    assert sorted(names.asked) == ["hook.example.com"] * 2  # A and AAAA


@W09
async def test_a_kept_connection_is_not_used_once_the_name_leads_elsewhere() -> None:
    now = ["127.0.0.1"]
    async with (
        name_server(lambda _: now) as names,
        receiver(host=EVERY_LOOPBACK) as peer,
        client(nameservers=(names.address,), memory=0.0) as egress,
    ):
        url = f"http://hook.example.com:{peer.port}/"
        first = await send(egress, url)
        again = await send(egress, url)
        now[:] = ["127.0.0.3"]
        moved = await send(egress, url)
    assert [first.remote, again.remote, moved.remote] == ["127.0.0.1", "127.0.0.1", "127.0.0.3"]
    assert peer.connections == 2


@W09
async def test_a_kept_connection_is_not_used_once_its_address_is_denied() -> None:
    async with receiver() as peer, client() as egress:
        first = await send(egress, peer.url)
        egress.policy = replace(LOOPBACK, deny=parse_networks(["127.0.0.1"]))
        second = await send(egress, peer.url)
    assert (first.status, second.failure) == (200, Failure.BLOCKED_ADDRESS)
    assert len(peer.requests) == 1


@W09
async def test_a_kept_connection_serves_its_own_pool_and_no_other() -> None:
    async with receiver() as peer, client() as egress:
        for pool in ("a", "b", "a", "b", "a"):
            await send(egress, peer.url, pool=pool)
    assert peer.connections == 2
    assert len(peer.requests) == 5


@W09
async def test_two_hosts_at_one_address_share_no_connection() -> None:
    async with (
        name_server(lambda _: ["127.0.0.1"]) as names,
        receiver() as peer,
        client(nameservers=(names.address,)) as egress,
    ):
        for host in ("one.example.com", "two.example.com", "one.example.com"):
            await send(egress, f"http://{host}:{peer.port}/")
    assert peer.connections == 2
    assert [b"two" in request for request in peer.requests] == [False, True, False]


@W07
async def test_the_last_gate_holds_when_the_policy_changes_under_a_try() -> None:
    async with receiver() as canary, client() as egress:
        judged = egress._judged

        def judged_then_denied(target: object) -> tuple[str, ...] | None:
            addresses = judged(target)  # type: ignore[arg-type]
            egress.policy = NOTHING_ALLOWED
            return addresses

        egress._judged = judged_then_denied  # type: ignore[method-assign]
        answer = await send(egress, canary.url)
    assert answer.failure is Failure.BLOCKED_ADDRESS
    assert canary.connections == 0


async def test_a_port_may_be_allowed_for_a_network_without_opening_it_to_the_world() -> None:
    port = closed_port()
    policy = Policy(allow=parse_allow_list([f"127.0.0.0/8:{port}"]), ports=(443,))
    async with (
        name_server(lambda _: ["93.184.216.34"]) as names,
        client(policy, nameservers=(names.address,)) as egress,
    ):
        inner = await send(egress, f"http://127.0.0.1:{port}/")
        outer = await send(egress, f"http://hook.example.com:{port}/")
    assert inner.failure is Failure.REFUSED
    assert outer.failure is Failure.BLOCKED_ADDRESS


async def test_https_only_holds_for_urls_that_were_stored_before() -> None:
    async with receiver() as peer, client() as egress:
        await send(egress, peer.url)
        egress.policy = replace(LOOPBACK, https_only=True)
        answer = await send(egress, peer.url)
    assert answer.failure is Failure.BLOCKED_ADDRESS
    assert "https" in answer.detail


async def _by_name(answers: Answers, policy: Policy = LOOPBACK, limit: float = 2.0) -> tuple[Answer, Peer]:
    async with (
        name_server(answers) as names,
        receiver() as peer,
        client(policy, nameservers=(names.address,), limit=limit) as egress,
    ):
        return await send(egress, f"http://hook.example.com:{peer.port}/"), peer


def _loop(name: str) -> list[str]:
    return ["->b.example.com" if name != "b.example.com" else "->hook.example.com"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        pytest.param(lambda _: NXDOMAIN, "does not exist", id="nxdomain"),
        pytest.param(lambda _: SERVFAIL, "failed", id="servfail"),
        pytest.param(lambda _: None, "in time", id="silence"),
        pytest.param(lambda _: [], "no address", id="empty"),
        pytest.param(_loop, "", id="alias-loop"),
    ],
)
async def test_a_name_without_an_address_fails_in_time(answers: Answers, said: str) -> None:
    started = time.monotonic()
    answer, peer = await _by_name(answers)
    assert time.monotonic() - started < 2.5
    assert answer.failure in {Failure.DNS, Failure.TIMEOUT}
    assert said in answer.detail
    assert peer.connections == 0


async def test_a_silent_name_server_has_its_own_limit() -> None:
    async with name_server(lambda _: None) as names, client(nameservers=(names.address,), limit=10.0) as egress:
        answer = await send(egress, "http://hook.example.com/")
    assert answer.failure is Failure.DNS
    assert answer.duration_ms < 3500


async def test_a_thousand_addresses_are_judged_and_few_are_tried() -> None:
    many = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(1000)]
    port = closed_port()
    async with name_server(lambda _: many) as names, client(nameservers=(names.address,), limit=2.0) as egress:
        answer = await send(egress, f"http://hook.example.com:{port}/")
        known = egress._names.known("hook.example.com")
    assert known is not None
    assert len(known) == 1000
    assert answer.failure is Failure.REFUSED
    assert answer.duration_ms < 2000


async def test_what_is_remembered_of_a_name_is_counted_apart_from_what_is_looked_up() -> None:
    port, known = closed_port(), {one: counting(LOOKUPS, cache="names", outcome=one) for one in ("hit", "miss")}
    async with name_server(lambda _: ["127.0.0.1"]) as names, client(nameservers=(names.address,)) as egress:
        for host in ("one", "one", "one", "another"):
            await send(egress, f"http://{host}.example.com:{port}/")
    assert (known["hit"].more, known["miss"].more) == (2, 2)


async def test_a_working_address_is_found_beside_a_dead_one() -> None:
    answer, _ = await _by_name(lambda _: ["::1", "127.0.0.1"])
    assert (answer.status, answer.remote) == (200, "127.0.0.1")


async def test_a_slow_name_does_not_hold_up_another() -> None:
    def answers(name: str) -> list[str] | None:
        return ["127.0.0.1"] if name.startswith("quick") else None

    async with (
        name_server(answers) as names,
        receiver() as peer,
        client(nameservers=(names.address,), limit=2.0) as egress,
    ):
        slow = [asyncio.create_task(_named(egress, f"slow{n}", peer)) for n in range(50)]
        await asyncio.sleep(0.1)
        quick = [await _named(egress, f"quick{n}", peer) for n in range(20)]
        assert not any(task.done() for task in slow)
        assert {answer.status for answer in quick} == {200}
        assert max(answer.duration_ms for answer in quick) < 1000
        assert {answer.failure for answer in await asyncio.gather(*slow)} <= {Failure.DNS, Failure.TIMEOUT}


async def _named(egress: Egress, host: str, peer: Peer) -> Answer:
    return await send(egress, f"http://{host}.example.com:{peer.port}/", pool=host)


async def test_many_tries_of_one_host_ask_once() -> None:
    async with (
        name_server(lambda _: ["127.0.0.1"]) as names,
        receiver() as peer,
        client(nameservers=(names.address,)) as egress,
    ):
        answers = await asyncio.gather(*(_named(egress, "one", peer) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert _times_asked(names) == 1


async def test_a_caller_that_gives_up_does_not_take_the_answer_from_others() -> None:
    async with (
        name_server(lambda _: ["127.0.0.1"]) as names,
        receiver() as peer,
        client(nameservers=(names.address,)) as egress,
    ):
        impatient = asyncio.create_task(_named(egress, "one", peer))
        patient = asyncio.create_task(_named(egress, "one", peer))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).status == 200
        with pytest.raises(asyncio.CancelledError):
            await impatient


def _times_asked(names: NameServer) -> int:
    """Each question is asked for A and for AAAA."""
    return len(names.asked) // 2
