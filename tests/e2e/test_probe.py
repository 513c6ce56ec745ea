"""The probe's own event goes through the whole installation, to a receiver that nobody else may call."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from app.cli.dev.ports import any_free
from app.cli.main import main
from app.cli.probe.receiver import HOOKS, RECEIVED, make_receiver
from app.cli.probe.sending import ENDPOINTS, Installation, NotDeliveredError, ask, send_event
from app.cli.probe.tenancy import lent_key
from app.domain.probe import PROBE
from app.kit.db import make_engine
from tests.e2e.customer import Caller, Customer
from tests.faults.processes import descendants, frozen, wait_for
from tests.servers import ROOT, Servers, cloned_database, process_environment
from tests.system import POSTRIDER, System, running_system

OPEN_KEYS = "SELECT count(*) FROM api_keys WHERE organisation_id = :probe AND revoked_at IS NULL"


@pytest.fixture(scope="module")
def receiver() -> Iterator[str]:
    """The URL of a receiver that listens."""
    with make_receiver("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def strict(servers: Servers, template: str, receiver: str) -> Iterator[System]:
    """A system that may call no private address but the receiver's."""
    allowed = {"POSTRIDER_EGRESS__ALLOW": "", "POSTRIDER_EGRESS__PROBE": urlsplit(receiver).netloc}
    with (
        cloned_database(servers, template) as urls,
        running_system(process_environment(urls, servers.own_redis_url()) | allowed, api=1, workers=1) as started,
    ):
        yield started


@pytest.fixture
def to(strict: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """The installation, with a key of the probe's organisation."""
    for name, value in strict.environment.items():
        monkeypatch.setenv(name, value)
    with lent_key() as key:
        yield Installation(strict.url, strict.url, key)


def probe(system: System, *words: str) -> Result:
    return CliRunner(env=system.environment).invoke(main, ["probe", "send", "--url", system.url, *words])


def test_an_event_is_sent_and_had_back_signed_again_and_again(strict: System, receiver: str) -> None:
    for _ in range(2):
        sent = probe(strict, "--receiver", receiver)
        assert sent.exit_code == 0, sent.output
        assert sent.output.startswith("an event was delivered in ")


def test_its_key_ends_with_it(strict: System, receiver: str) -> None:
    assert probe(strict, "--receiver", receiver).exit_code == 0
    assert _rows(strict, OPEN_KEYS, probe=PROBE) == [(0,)]


def test_nobody_else_may_name_the_receiver(strict: System, receiver: str) -> None:
    customer = Customer(Caller(strict.url, strict.new_tenant().key))
    refused = customer.api.call("POST", f"/app/{customer.app}/endpoint", {"url": f"{receiver}{HOOKS}x"})
    assert refused.status == 422
    assert "url_refused" in refused.raw.decode()


def test_nobody_else_reaches_the_receiver_even_if_its_address_were_theirs(strict: System, receiver: str) -> None:
    customer = Customer(Caller(strict.url, strict.new_tenant().key))
    endpoint = customer.endpoint("https://example.com/hooks")
    moved = "UPDATE endpoints SET url = :url WHERE url = 'https://example.com/hooks' RETURNING 1"
    assert _rows(strict, moved, url=f"{receiver}{HOOKS}stolen") == [(1,)]
    (attempt,) = customer.wait_for_attempts(customer.send(), 1)
    assert attempt["endpointId"] == endpoint
    assert "address" in attempt["response"]
    assert ask("GET", f"{receiver}{RECEIVED}stolen", None, {})[0] == 404


def test_the_probe_itself_may_call_no_other_private_address(strict: System) -> None:
    sent = probe(strict, "--receiver", "http://127.0.0.2:8080")
    assert sent.exit_code == 1
    assert "url_refused" in sent.output


def test_who_does_not_get_it_in_time_is_told_where_to_look(strict: System, receiver: str, to: Installation) -> None:
    with frozen(descendants(strict.children["worker"].pid)):
        with pytest.raises(NotDeliveredError, match=r"accepted, and did not come within 1 s: look at the workers"):
            send_event(to, receiver, 1)
        with pytest.raises(NotDeliveredError, match="answered by 401"):
            send_event(replace(to, key="wrong"), receiver, 1)
        with pytest.raises(NotDeliveredError, match="got no answer"):
            send_event(replace(to, url=f"http://127.0.0.1:{any_free()}"), receiver, 1)


def test_who_is_told_to_end_leaves_nothing(strict: System, receiver: str) -> None:
    words = [*POSTRIDER, "probe", "send", "--url", strict.url, "--receiver", receiver]
    with (
        frozen(descendants(strict.children["worker"].pid)),
        subprocess.Popen(words, env=strict.environment, cwd=ROOT) as process,
    ):
        wait_for(lambda: len(_endpoints(strict)) == 1, 60, "an endpoint of the run")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert _endpoints(strict) == []
    assert _rows(strict, OPEN_KEYS, probe=PROBE) == [(0,)]


def test_what_a_killed_run_left_goes_with_a_later_one(strict: System, receiver: str, to: Installation) -> None:
    for uid in ("killed", "under-way"):
        to.call("PUT", f"{ENDPOINTS}/{uid}", {"url": f"{receiver}{HOOKS}{uid}", "uid": uid, "channels": [uid]})
    aged = "UPDATE endpoints SET created_at = now() - interval '61 minutes' WHERE uid = 'killed' RETURNING 1"
    assert _rows(strict, aged) == [(1,)]
    assert send_event(to, receiver, 60) > 0
    assert _endpoints(strict) == ["under-way"]
    to.call("DELETE", f"{ENDPOINTS}/under-way")


def _endpoints(system: System) -> list[object]:
    """The names of the probe's endpoints."""
    live = "SELECT e.uid FROM endpoints e JOIN applications a ON a.id = e.application_id"
    return [uid for (uid,) in _rows(system, f"{live} WHERE a.uid = 'probe' AND e.deleted_at IS NULL")]


def _rows(system: System, statement: str, **values: object) -> list[tuple[object, ...]]:
    engine = make_engine(system.environment["POSTRIDER_DATABASE__MIGRATOR_URL"], pool_size=1)
    try:
        with engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]
    finally:
        engine.dispose()
