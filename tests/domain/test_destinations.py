"""Which URLs an endpoint may have."""

import pytest

from app.domain.addresses import BadUrl, parse_allow_list, parse_networks
from app.domain.destinations import Destinations
from app.domain.ids import uuid7
from app.domain.probe import PROBE

RULES = Destinations("https://hooks.example.com", allowed_ports=(80, 443, 8443))
LOCAL = Destinations("http://localhost:8000", allow=parse_allow_list(["127.0.0.0/8", "::1/128"]))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/api/v1/app/a/msg",
        "https://HOOKS.example.com/api/v1/app/a/msg",
        "https://hooks.example.com:443/api",
        "https://hooks.example.com//api/v1/app/a/msg",
        "https://hooks.example.com/x/../api/v1/app/a/msg",
        "https://hooks.example.com/%61pi/v1/app/a/msg",
    ],
)
def test_own_api_is_no_destination(url: str) -> None:
    with pytest.raises(BadUrl, match="own API"):
        RULES.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/receiver",
        "https://hooks.example.com/apis",
        "https://hooks.example.com:8443/api/v1/app/a/msg",
        "https://other.example.com/api/v1/app/a/msg",
    ],
)
def test_other_urls_are(url: str) -> None:
    RULES.check(url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "api.localhost"])
def test_this_machine_has_many_names(host: str) -> None:
    with pytest.raises(BadUrl, match="own API"):
        LOCAL.check(f"http://{host}:8000/api/v1/app/a/msg")
    LOCAL.check(f"http://{host}:8001/api/v1/app/a/msg")


def test_a_path_before_the_api_counts() -> None:
    rules = Destinations("https://example.com/postrider/")
    with pytest.raises(BadUrl, match="own API"):
        rules.check("https://example.com/postrider/api/v1/app")
    rules.check("https://example.com/api/v1/app")


def test_denied_networks_hold_for_literal_addresses() -> None:
    rules = Destinations("https://example.com", deny=parse_networks(["1.2.3.0/24"]))
    with pytest.raises(BadUrl, match="not allowed"):
        rules.check("http://1.2.3.4/")
    rules.check("http://1.2.4.4/")


def test_https_only_refuses_http() -> None:
    with pytest.raises(BadUrl, match="https"):
        Destinations("https://example.com", https_only=True).check("http://example.org/")


def test_the_probes_receiver_is_for_the_probes_organisation_alone() -> None:
    rules = Destinations("https://example.com", probe=parse_allow_list(["10.96.0.80:8080"])[0])
    rules.of(PROBE).check("http://10.96.0.80:8080/hooks/x")
    for others in (rules, rules.of(uuid7(0, 1, bytes(8)))):
        with pytest.raises(BadUrl):
            others.check("http://10.96.0.80:8080/hooks/x")
    for elsewhere in ("http://10.96.0.80:8081/", "http://10.96.0.81:8080/"):
        with pytest.raises(BadUrl):
            rules.of(PROBE).check(elsewhere)
