"""Over TLS every answer tells browsers to insist on it, once; without TLS none does, and the API refuses."""

import socket
import ssl

import pytest

from tests.deploy.edge.client import HOST, Door
from tests.deploy.edge.conftest import Opening, Shown
from tests.deploy.edge.upstream import Upstream
from tests.system import System

HSTS = "Strict-Transport-Security"
WANTED = "max-age=31536000; includeSubDomains; preload"
TOO_LARGE = b"x" * (3 * 1024 * 1024)


@pytest.fixture(scope="module")
def own(opened: Opening, upstream: Upstream) -> Door:
    """The same route in front of the tests' own upstream, which sends a header of its own."""
    return opened(upstream.port)


@pytest.fixture(scope="module")
def deserted(opened: Opening) -> Door:
    """The same route with nobody behind it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return opened(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/static/style.css", None, 200),
        ("GET", "/api/v1/health", None, 200),
        ("GET", "/api/v1/app", None, 401),
        ("GET", "/nothing", None, 404),
        ("TRACE", "/api/v1/app", None, 405),
        ("POST", "/api/v1/app", TOO_LARGE, 413),
    ],
)
def test_an_answer_over_tls_says_it_once(door: Door, method: str, path: str, body: bytes | None, status: int) -> None:
    reply = door.ask(method, path, body=body)
    assert (reply.status, reply.all_of(HSTS)) == (status, [WANTED])


def test_a_name_that_the_connection_was_not_opened_for_does_not_reach_the_api(door: Door) -> None:
    reply = door.ask("GET", "/api/v1/health", headers={"host": "other.example.com"})
    assert reply.status in {403, 404}
    assert "x-request-id" not in reply.headers


@pytest.mark.parametrize("status", [200, 301, 404, 429, 500, 503])
def test_it_takes_the_place_of_what_stands_behind(own: Door, status: int) -> None:
    reply = own.ask("GET", f"/{status}")
    assert (reply.status, reply.all_of(HSTS)) == (status, [WANTED])


def test_an_answer_for_nobody_behind_says_it_once(deserted: Door) -> None:
    reply = deserted.ask("GET", "/api/v1/app")
    assert (reply.status, reply.all_of(HSTS)) == (502, [WANTED])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/portal", 301), ("HEAD", "/portal", 301), ("GET", "/api/v1/app", 403), ("POST", "/portal", 403)],
)
def test_no_answer_without_tls_says_it(door: Door, method: str, path: str, status: int) -> None:
    reply = door.ask(method, path, tls=False)
    assert (reply.status, reply.all_of(HSTS)) == (status, [])


def test_without_tls_pages_move_on_to_where_they_are(door: Door) -> None:
    for method in ("GET", "HEAD"):
        assert door.ask(method, "/portal?a=b%20c", tls=False).headers["location"] == f"https://{HOST}/portal?a=b%20c"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/api", "/api/v1/app", "/api/v1/app/x/msg"])
def test_without_tls_the_api_says_in_json_that_it_is_required(door: Door, method: str, path: str) -> None:
    reply = door.ask(method, path, tls=False, headers={"authorization": "Bearer x"})
    assert reply.status == 403
    assert reply.problem()["type"].endswith("https_required")
    assert "location" not in reply.headers


def test_a_caller_cannot_say_that_it_came_by_tls(door: Door) -> None:
    assert door.ask("GET", "/api/v1/app", tls=False, headers={"x-forwarded-proto": "https"}).status == 403


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_refused(door: Door, shown: Shown, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError) as refused:
        door.connect(trust=only(version, shown))
    assert refused.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_versions_of_tls_are_spoken(door: Door, shown: Shown, version: ssl.TLSVersion) -> None:
    with door.connect(trust=only(version, shown)) as connection:
        assert isinstance(connection, ssl.SSLSocket)
        assert connection.version() == version.name.replace("_", ".")


def only(version: ssl.TLSVersion, shown: Shown) -> ssl.SSLContext:
    """A caller that speaks this version alone, with whatever cipher."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    shown.authority.configure_trust(context)
    return context


def test_a_host_that_is_nobodys_gets_no_connection(door: Door) -> None:
    with pytest.raises(ssl.SSLError):
        door.connect(host="other.example.com")


def test_the_api_is_the_one_behind(door: Door, api: System) -> None:
    tenant = api.new_tenant()
    reply = door.ask("GET", "/api/v1/app", headers={"authorization": f"Bearer {tenant.key}"})
    assert (reply.status, reply.body.startswith(b'{"data":[]')) == (200, True)
