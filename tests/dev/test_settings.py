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


@pytest.mark.parametrize("place", ["10.96.0.80", "10.96.0.0/24:8080", "receiver:8080"])
def test_the_probe_is_one_address_and_one_port(place: str) -> None:
    given = settings("production").model_dump()
    with pytest.raises(ValidationError):
        Settings.model_validate(given | {"egress": {"probe": place}})
    with pytest.raises(ValidationError, match="PROBE may not name loopback in production"):
        Settings.model_validate(given | {"egress": {"probe": "127.0.0.1:8080"}})
    assert Settings.model_validate(given | {"egress": {"probe": "10.96.0.80:8080"}}).egress.probe_allowance()


def test_a_store_that_has_no_proxy_and_no_mail_server_says_nothing_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTRIDER_DATABASE__URL", "postgresql://p@h/d")
    monkeypatch.setenv("POSTRIDER_REDIS__URL", "redis://h")
    monkeypatch.setenv("POSTRIDER_SECRETS__KEYS", f'{{"k": "{KEY}"}}')
    monkeypatch.setenv("POSTRIDER_SECRETS__ACTIVE", "k")
    for name in ("POSTRIDER_MAIL__URL", "POSTRIDER_EGRESS__PROXY", "POSTRIDER_TELEMETRY__SENTRY_DSN"):
        monkeypatch.setenv(name, "")
    told = Settings()
    assert (told.mail.url, told.egress.proxy, told.telemetry.dsn()) == (None, None, None)


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


def reached(environment: str = "production", url: str = "https://hooks.example.com", **http: object) -> Settings:
    """Settings with a public URL, and how the API is reached."""
    given = settings(environment).model_dump() | {"public_url": url, "http": http}
    return Settings.model_validate(given)


def test_nobody_is_believed_who_was_not_named() -> None:
    http = settings("production").http
    assert (http.proxies(), http.allowed_hosts, http.cors_origins) == ((), (), ())


@pytest.mark.parametrize(
    ("url", "said", "required"),
    [
        ("https://hooks.example.com", None, True),
        ("https://hooks.example.com", False, False),
        ("http://localhost:8000", None, False),
        ("http://hooks.example.com", None, False),
    ],
)
def test_https_is_required_where_the_public_url_has_it(url: str, said: bool | None, required: bool) -> None:  # noqa: FBT001  # a case
    assert reached(url=url, require_https=said).requires_https is required


def test_https_cannot_be_required_of_a_url_without() -> None:
    with pytest.raises(ValidationError, match="REQUIRE_HTTPS needs a POSTRIDER_PUBLIC_URL that begins with https"):
        reached(url="http://hooks.example.com", require_https=True)


def test_the_environment_names_them_with_commas() -> None:
    http = reached(
        trusted_proxies="10.0.0.0/8, fd00::/8",
        allowed_hosts="API.example.com,[2001:DB8::1]",
        cors_origins="https://a.example.com,http://localhost:3000",
    )
    assert [str(one) for one in http.http.proxies()] == ["10.0.0.0/8", "fd00::/8"]
    assert http.hosts() == {"hooks.example.com", "api.example.com", "2001:db8::1"}
    assert http.http.cors_origins == ("https://a.example.com", "http://localhost:3000")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("trusted_proxies", "0.0.0.0/0", "may not name everyone"),
        ("trusted_proxies", "10.0.0.1,::/0", "may not name everyone"),
        ("trusted_proxies", "*", "not an address or network"),
        ("trusted_proxies", "proxy.example.com", "not an address or network"),
        ("trusted_proxies", "10.0.0.1/8", "not an address or network"),
        ("proxy_headers", "any", "x-forwarded"),
        ("allowed_hosts", "*", "takes names such as"),
        ("allowed_hosts", "*.example.com", "takes names such as"),
        ("allowed_hosts", "https://api.example.com", "takes names such as"),
        ("allowed_hosts", "api.example.com:443", "takes names such as"),
        ("cors_origins", "*", "takes origins such as"),
        ("cors_origins", "null", "takes origins such as"),
        ("cors_origins", "https://*.example.com", "takes origins such as"),
        ("cors_origins", "https://a.example.com/", "takes origins such as"),
        ("cors_origins", "https://A.example.com", "takes origins such as"),
        ("cors_origins", "a.example.com", "takes origins such as"),
    ],
)
def test_what_would_open_the_api_to_everyone_is_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        reached(**{name: value})


@pytest.mark.parametrize(
    "url", ["", "hooks.example.com", "ftp://a", "https://", "https://a b", "https://a?b", "https://u@a"]
)
def test_a_public_url_is_whole(url: str) -> None:
    with pytest.raises(ValidationError, match="POSTRIDER_PUBLIC_URL is a URL such as"):
        reached(url=url)


@pytest.mark.parametrize(
    ("environment", "url", "is_local"),
    [
        ("production", "https://hooks.example.com", False),
        ("production", "http://localhost:8000", True),
        ("production", "http://127.0.0.1:8000", True),
        ("development", "https://hooks.example.com", True),
        ("test", "https://hooks.example.com", True),
    ],
)
def test_this_machine_is_believed_where_nobody_else_calls(environment: str, url: str, is_local: bool) -> None:  # noqa: FBT001  # a case
    assert reached(environment, url).is_local is is_local
