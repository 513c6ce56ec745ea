"""What the settings refuse before anything starts."""

import base64

import pytest
from pydantic import ValidationError

from app.domain.limits import IdentityKind, RouteClass
from app.kit.rate_limits.policy import Rate
from app.settings import Settings

KEY = base64.b64encode(bytes(32)).decode()


def settings(environment: str, **egress: object) -> Settings:
    """Settings with nothing but what is required, and how deliveries leave."""
    return Settings.model_validate(
        {
            "environment": environment,
            "database": {"url": "postgresql://p@h/d"},
            "redis": {"url": "redis://h"},
            "secrets": {"keys": {"k": KEY}, "active": "k"},
            "egress": egress,
        }
    )


def test_nothing_is_allowed_that_was_not_asked_for() -> None:
    assert settings("production").egress.allowances() == ()


OWN = ("127.0.0.0/8", "127.0.0.1:9000", "127.0.0.0/9", "0.0.0.0/0", "126.0.0.0/7", "0.0.0.0/32", "[::1]:80", "::/0")
OTHERS = ("10.1.0.0/16", "192.168.0.7:8443", "fd00::/8", "[fd00::1]:80")


@pytest.mark.parametrize("network", [*OWN, "::ffff:127.0.0.1", "10.0.0.0/8,127.0.0.2"])
def test_production_allows_nothing_on_this_machine(network: str) -> None:
    with pytest.raises(ValidationError, match="may not name loopback in production"):
        settings("production", allow=network)
    assert settings("development", allow=network).egress.allowances()


@pytest.mark.parametrize("network", OTHERS)
def test_production_allows_private_networks_by_name(network: str) -> None:
    assert len(settings("production", allow=network).egress.allowances()) == 1


def test_limits_are_rates_and_nothing_turns_one_off() -> None:
    given = {"ingest": {"key": "9000/second"}, "read": {"key": "", "organisation": "0"}}
    rates = Settings.model_validate(settings("test").model_dump() | {"limits": given}).limits.rates()
    assert rates[RouteClass.ingest] == {IdentityKind.key: Rate(9000, 1)}
    assert rates[RouteClass.read] == {}
    assert rates[RouteClass.sign_in] == {IdentityKind.ip: Rate(100, 900)}


def test_a_limit_that_is_no_rate_is_refused() -> None:
    given = settings("test").model_dump() | {"limits": {"write": {"ip": "often"}}}
    with pytest.raises(ValidationError, match="'often' is no rate such as 6000/minute") as refused:
        Settings.model_validate(given)
    assert refused.value.errors()[0]["loc"] == ("limits", "write", "ip")


def test_a_lease_outlives_a_request() -> None:
    with pytest.raises(ValidationError, match="LEASE_SECONDS must exceed"):
        settings("test", timeout_seconds=30)


def test_secrets_have_no_default() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({})
    assert {one["loc"][0] for one in refused.value.errors()} == {"database", "redis", "secrets"}


def test_the_active_key_is_one_of_the_ring() -> None:
    given = settings("test").model_dump() | {"secrets": {"keys": {"k": KEY}, "active": "other"}}
    with pytest.raises(ValidationError, match="names 'other', which POSTRIDER_SECRETS__KEYS lacks"):
        Settings.model_validate(given)
