"""Nothing but public addresses is ever called, by whatever name, spelling or turn of events."""

import socket
import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest

from tests.e2e.customer import Customer, eventually
from tests.receiver import Answer
from tests.ssrf.conftest import Lab
from tests.ssrf.corpus import (
    ADDRESSES,
    DENIED_V4,
    DISGUISED,
    INTERNAL,
    PUBLIC_V4,
    PUBLIC_V6,
    URLS,
    literal_url,
)

ZONE = "postrider-lab.com"
NAMES_ARE_REMEMBERED_SECONDS = 5.0
UNROUTABLE = {"224.0.0.1", "239.255.255.250", "255.255.255.255", "fe80::1", "ff02::1"}
pytestmark = [pytest.mark.timeout(180), pytest.mark.acceptance("W07")]


def as_arrived(address: str) -> str:
    """The address as whom it reaches sees it."""
    parsed = ip_address(address)
    if parsed.is_unspecified:
        return "127.0.0.1" if parsed.version == 4 else "::1"
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def attempts_by_endpoint(customer: Customer, message: str) -> dict[str, dict[str, Any]]:
    """The last attempt of a message at each endpoint."""
    found = customer.api.get(f"/app/{customer.app}/attempt/msg/{message}", limit=250)["data"]
    return {one["endpointId"]: one for one in reversed(found)}


def wait_for_all(customer: Customer, message: str, number: int) -> dict[str, dict[str, Any]]:
    """The attempts of a message, once each endpoint has one."""
    return eventually(lambda: len(found := attempts_by_endpoint(customer, message)) >= number and found, 60)


def assert_blocked(customer: Customer, endpoints: Mapping[str, str]) -> None:
    """A message to these endpoints (id to what it is) ends in an attempt at each that was blocked."""
    attempts = wait_for_all(customer, customer.send(), len(endpoints))
    wrong = {
        endpoints[one]: attempt["response"]
        for one, attempt in attempts.items()
        if not attempt["response"].startswith("blocked_address") or attempt["responseStatusCode"]
    }
    assert wrong == {}
    assert {attempt["status"] for attempt in attempts.values()} == {2}


def test_the_installation_is_as_in_production(lab: Lab) -> None:
    """Nothing that a developer or a test may do is set."""
    assert lab.system.environment["POSTRIDER_ENVIRONMENT"] == "production"
    assert [name for name in lab.system.environment if name.startswith("POSTRIDER_EGRESS")] == []


@pytest.mark.acceptance("W08")
def test_the_laboratory_bites(lab: Lab) -> None:
    """What follows proves something only if every forbidden address answers, and so does every port."""
    reachable = [one for one in (*ADDRESSES, PUBLIC_V4, PUBLIC_V6) if one not in UNROUTABLE]
    for number, address in enumerate(reachable):
        with socket.create_connection((address, (80, 443, 8080, 8443)[number % 4]), 2):
            pass
    eventually(lambda: lab.hits() == {as_arrived(one) for one in reachable})
    lab.forget_hits()


@pytest.mark.acceptance("W08")
def test_a_plain_client_is_led_inside(lab: Lab) -> None:
    """By its literal, by a form that hides it, by a name, by the second answer for a name, and by a redirect."""
    inside = "169.254.169.254"
    ways = {
        literal_url(inside): {inside},
        literal_url("fd00:ec2::254"): {"fd00:ec2::254"},
        literal_url("::ffff:127.0.0.1"): {"127.0.0.1"},
        f"http://{lab.names.say(f'plain.{ZONE}', ['10.9.9.9'])}:8080/": {"10.9.9.9"},
        f"http://{PUBLIC_V4}{lab.public.path(Answer(302, {'location': literal_url(inside)}))}": {PUBLIC_V4, inside},
    }
    for url, arrived in ways.items():
        lab.forget_hits()
        lab.call_plainly(url)
        assert lab.hits() == arrived, url
    turning = lab.names.say(f"turning.{ZONE}", [PUBLIC_V4], [inside])
    lab.forget_hits()
    lab.call_plainly(*[f"http://{turning}/"] * 2)
    assert lab.hits() == {PUBLIC_V4, inside}


def test_a_public_address_is_delivered_to(lab: Lab) -> None:
    customer = lab.customer()
    path = lab.public.path()
    lab.forget_hits()
    name = lab.names.say(f"good.{ZONE}", [PUBLIC_V4])
    alias = lab.names.alias(f"alias.{ZONE}", name)
    urls = [literal_url(PUBLIC_V4), literal_url(PUBLIC_V6), f"http://{name}/", f"http://{alias}:80/"]
    endpoints = {customer.endpoint(url[:-1] + path, retrySchedule=[0]): url for url in urls}
    attempts = wait_for_all(customer, customer.send(), len(endpoints))
    assert {endpoints[one]: attempt["responseStatusCode"] for one, attempt in attempts.items()} == dict.fromkeys(
        urls, 204
    )
    assert lab.hits() == {PUBLIC_V4, PUBLIC_V6}


def test_what_is_forbidden_by_its_url_is_refused_when_written(lab: Lab) -> None:
    customer = lab.customer()
    lab.forget_hits()
    taken = {}
    for url in URLS:
        reply = customer.api.call("POST", f"/app/{customer.app}/endpoint", {"url": url, "retrySchedule": [0]})
        assert reply.status in {201, 422}, (url, reply.raw)
        if reply.status == 201:
            taken[reply.body["id"]] = url
        else:
            assert reply.fields == ["body.url"], (url, reply.raw)
    # What a spelling may still be is a name that no name server knows, or the public address itself.
    assert taken == {}
    assert lab.hits() == set()


def test_every_other_way_to_write_a_url_refuses_too(lab: Lab) -> None:
    customer = lab.customer()
    lab.forget_hits()
    endpoint = customer.endpoint(literal_url(PUBLIC_V4))
    at = f"/app/{customer.app}/endpoint"
    ways = (
        ("PUT", f"{at}/{endpoint}"),
        ("PUT", f"{at}/a-new-one"),
        ("PATCH", f"{at}/{endpoint}"),
        ("POST", "/operational-webhook/endpoint"),
        ("PUT", "/operational-webhook/endpoint/a-new-one"),
    )
    for method, path in ways:
        for address in (*INTERNAL, "::1", "::ffff:127.0.0.1", "fd00:ec2::254"):
            reply = customer.api.call(method, path, {"url": literal_url(address)})
            assert (reply.status, reply.fields) == (422, ["body.url"]), (method, path, address, reply.raw)
    assert customer.state(endpoint)["url"] == literal_url(PUBLIC_V4)
    assert lab.hits() == set()


def test_a_name_is_judged_by_all_its_addresses(lab: Lab) -> None:
    customer = lab.customer()
    lab.forget_hits()
    say = lab.names.say
    names = {}
    for number, address in enumerate(ADDRESSES):
        names[say(f"only-{number}.{ZONE}", [address])] = address
    for number, address in enumerate((*DENIED_V4, *DISGUISED)):
        both = [PUBLIC_V4, address] if number % 2 else [address, PUBLIC_V4, PUBLIC_V6]
        names[say(f"mixed-{number}.{ZONE}", both)] = " and ".join(both)
    names[lab.names.alias(f"alias-of-inside.{ZONE}", f"only-2.{ZONE}")] = "CNAME"
    names[say(f"xn--bcher-kva.{ZONE}", ["169.254.169.254"])] = "IDN"
    urls = [f"http://{name}/" for name in names if not name.startswith("xn--")] + [f"http://bücher.{ZONE}/"]
    urls += [f"https://only-{number}.{ZONE}:8443/x" for number in range(5)]
    endpoints = {customer.endpoint(url, retrySchedule=[0]): url for url in urls}
    assert_blocked(customer, endpoints)
    assert lab.hits() == set()


@pytest.mark.acceptance("W05")
def test_a_redirect_to_the_inside_is_not_followed(lab: Lab) -> None:
    customer = lab.customer()
    lab.forget_hits()
    targets = [literal_url(address) for address in (*INTERNAL, "::1", "fd00:ec2::254")] + [f"http://only-5.{ZONE}/"]
    paths = [
        lab.public.path(Answer(status, {"location": target}))
        for status in (301, 302, 303, 307, 308)
        for target in targets
    ]
    paths.append(lab.public.path(Answer(200, {"refresh": f"0; url={targets[0]}"})))
    endpoints = [customer.endpoint(f"http://{PUBLIC_V4}{path}", retrySchedule=[0]) for path in paths]
    attempts = wait_for_all(customer, customer.send(), len(endpoints))
    codes = {attempts[one]["responseStatusCode"] for one in endpoints[:-1]}
    assert codes == {301, 302, 303, 307, 308}
    assert {attempts[one]["status"] for one in endpoints[:-1]} == {2}
    assert lab.hits() == {PUBLIC_V4}


@pytest.mark.acceptance("W08")
def test_a_name_that_turns_inward_is_blocked_from_then_on(lab: Lab) -> None:
    """Rebinding: between two messages, between two tries, and with each lookup."""
    customer = lab.customer()
    lab.forget_hits()
    fine, failing = lab.public.path(), lab.public.path(Answer(500))
    again: dict[str, Any] = {"retrySchedule": [0, 8, 8]}
    later, retried, flips = {}, {}, {}
    for number, address in enumerate((*INTERNAL, "::ffff:169.254.169.254", "fd00:ec2::254")):
        inward = [PUBLIC_V4], [address]
        name = lab.names.say(f"later-{number}.{ZONE}", *inward)
        later[customer.endpoint(f"http://{name}{fine}", retrySchedule=[0])] = name
        name = lab.names.say(f"retried-{number}.{ZONE}", *inward)
        retried[customer.endpoint(f"http://{name}{failing}", **again)] = name
        name = lab.names.say(f"flips-{number}.{ZONE}", *([[address], [PUBLIC_V4]] * 20))
        flips[customer.endpoint(f"http://{name}{fine}", retrySchedule=[0])] = name
    first = customer.send()
    attempts = wait_for_all(customer, first, len(later) + len(retried) + len(flips))
    assert {attempts[one]["responseStatusCode"] for one in later} == {204}
    assert {attempts[one]["responseStatusCode"] for one in retried} == {500}
    assert {attempts[one]["response"].partition(":")[0] for one in flips} == {"blocked_address"}
    time.sleep(NAMES_ARE_REMEMBERED_SECONDS + 0.5)
    attempts = wait_for_all(customer, customer.send(), len(later) + len(retried) + len(flips))
    assert {attempts[one]["response"].partition(":")[0] for one in later} == {"blocked_address"}
    assert {attempts[one]["responseStatusCode"] for one in flips} == {204}

    def all_blocked_at_last() -> bool:
        now = attempts_by_endpoint(customer, first)
        return all(now[one]["response"].startswith("blocked_address") for one in retried)

    eventually(all_blocked_at_last, 40)
    assert lab.hits() == {PUBLIC_V4}
