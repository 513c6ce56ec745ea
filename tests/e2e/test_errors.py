"""What is broken on purpose is reported by the process that met it, with what tells whom it hurts and no more."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import IncompleteRead
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

from app.cli.dev.ports import any_free
from app.cli.dev.process import Child, Program, wait_until
from app.cli.dev.roles import API, WORKER, DatabaseUrls, plain_url
from app.kit.clock import utc_now
from tests.breakage import without
from tests.canaries import PAYLOAD, keep
from tests.e2e.customer import Customer
from tests.receiver import Answer, Receiver
from tests.sentry import Report, Sentry, running_sentry
from tests.servers import ROOT, Servers, process_environment
from tests.system import System, running_system

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MAIL = "mallory.canary@example.com"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-00"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def sentry() -> Iterator[Sentry]:
    with running_sentry() as started:
        yield started


@pytest.fixture(scope="module")
def system(servers: Servers, database: DatabaseUrls, sentry: Sentry) -> Iterator[System]:
    """An installation that reports its errors."""
    environment = process_environment(database, servers.own_redis_url())
    environment |= {"POSTRIDER_TELEMETRY__SENTRY_DSN": sentry.dsn, "POSTRIDER_TELEMETRY__REVISION": "r-17"}
    with running_system(environment, api=1, workers=1) as started:
        yield started


@contextmanager
def lost(database: DatabaseUrls, right: str, table: str, role: str) -> Iterator[None]:
    """The role has lost this right on the table."""
    with psycopg.connect(plain_url(database.migrator), autocommit=True) as owner:
        owner.execute(f"REVOKE {right} ON {table} FROM {role}".encode())
        try:
            yield
        finally:
            owner.execute(f"GRANT {right} ON {table} TO {role}".encode())


@contextmanager
def unreadable_events(database: DatabaseUrls) -> Iterator[None]:
    """The API may write audit events, but read no more of them than writing takes."""
    with lost(database, "SELECT", "audit_events", API), psycopg.connect(plain_url(database.migrator)) as owner:
        owner.execute(f"GRANT SELECT (organisation_id, id, occurred_at) ON audit_events TO {API}".encode())
        owner.commit()
        yield


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def of_request(request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id, "traceparent": CALLER}


def organisation(customer: Customer) -> str:
    found: str = customer.api.get("/organisation")["id"]
    return found


def functions(report: Report) -> set[str]:
    """The names of those on the stacks."""
    stacks = [one["stacktrace"]["frames"] for one in report["exception"]["values"] if one.get("stacktrace")]
    return {frame["function"] for frames in stacks for frame in frames}


def common(report: Report) -> tuple[object, ...]:
    names = ("release", "environment", "platform")
    return (*(report[name] for name in names), report["contexts"]["trace"]["trace_id"])


def test_a_route_that_fails_is_reported_once_with_whom_it_hurts(
    customer: Customer, sentry: Sentry, database: DatabaseUrls
) -> None:
    body = {"name": "canary.made", "description": f"{PAYLOAD} {MAIL}"}
    with without(database.migrator, "event_types"):
        answer = customer.api.call("POST", "/event-type", body, headers=of_request("broken-route"))
        assert answer.status == 500, answer.raw
        report = sentry.wait(lambda one: one["tags"].get("request_id") == "broken-route")
        customer.api.call("GET", "/event-type", headers=of_request("broken-again"))
        sentry.wait(lambda one: one["tags"].get("request_id") == "broken-again")

    assert common(report) == ("r-17", "test", "python", TRACE)
    assert report["tags"]["component"] == "api"
    assert report["tags"]["organisation_id"] == organisation(customer)
    assert (report["level"], report["logentry"]["message"]) == ("error", "request_failed")
    assert report["exception"]["values"][-1]["type"] == "ProgrammingError"
    assert {"create", "work"} <= functions(report)
    assert len([one for one in sentry.reports() if one["tags"].get("request_id") == "broken-route"]) == 1


def test_a_task_that_fails_is_reported_with_the_request_that_asked_for_it(
    customer: Customer, sentry: Sentry, database: DatabaseUrls, receiver: Receiver
) -> None:
    endpoint = customer.endpoint(f"{receiver.base}{receiver.path()}")
    path = f"/app/{customer.app}/endpoint/{endpoint}/replay-missing"
    body = {"since": (utc_now() - timedelta(hours=1)).isoformat()}
    with lost(database, "UPDATE", "background_tasks", WORKER):
        answer = customer.api.call("POST", path, body, headers=of_request("broken-task"))
        assert answer.status == 202, answer.raw
        report = sentry.wait(lambda one: one["tags"].get("task") == "background.run")

    assert common(report) == ("r-17", "test", "python", TRACE)
    assert report["tags"]["component"] == "worker"
    assert report["tags"]["request_id"] == "broken-task"
    assert report["tags"]["organisation_id"] == organisation(customer)
    assert "run_background_tasks" in functions(report)


def test_what_breaks_in_beat_is_reported_and_a_broker_that_is_away_is_not_and_ends_nobody(
    system: System, sentry: Sentry, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "celery", "-A", "tests.e2e.beat", "beat", "--pidfile", ""]
    log = tmp_path / "beat.log"
    env = {**system.environment, "POSTRIDER_REDIS__URL": "redis://127.0.0.1:1/0"}
    env |= {"POSTRIDER_TELEMETRY__PORT": str(port := any_free()), "POSTRIDER_TELEMETRY__STANDS_STILL_SECONDS": "10"}
    child = Child(Program("beat", argv, log, env=env, cwd=ROOT), tmp_path)
    try:
        report = sentry.wait(lambda one: one["tags"] == {"component": "beat"}, 40)
        # It has waited for 2, 4 and 6 seconds by then.
        assert wait_until(lambda: "beat tries again in 8 s" in log.read_text(), 40)
        with urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            assert answer.status == 200
    finally:
        child.stop()
        keep(log)

    assert (report["release"], report["level"], report["logger"]) == ("r-17", "error", "celery.beat")
    assert report["exception"]["values"][-1]["type"] == "ZeroDivisionError"
    assert "is_due" in functions(report)
    of_beat = [one for one in sentry.reports() if one["tags"] == {"component": "beat"}]
    assert {one["exception"]["values"][-1]["type"] for one in of_beat} == {"ZeroDivisionError"}


def test_an_answer_that_breaks_off_while_it_is_streamed_is_reported(
    customer: Customer, sentry: Sentry, database: DatabaseUrls
) -> None:
    with unreadable_events(database):
        with pytest.raises(IncompleteRead, match=r"[1-9][0-9]* bytes"):
            customer.api.call("GET", "/audit/export.csv", headers=of_request("broken-stream"))
        report = sentry.wait(lambda one: one["tags"].get("request_id") == "broken-stream")

    assert common(report) == ("r-17", "test", "python", TRACE)
    assert report["tags"]["organisation_id"] == organisation(customer)
    assert "export" in functions(report)


def test_what_callers_and_endpoints_do_wrong_is_not_reported(
    customer: Customer, sentry: Sentry, receiver: Receiver
) -> None:
    before = len(sentry.reports())
    path = receiver.path(Answer(500), Answer(500), Answer(204))
    customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 1, 1])
    customer.endpoint("http://127.0.0.1:1/nobody", retrySchedule=[0])
    customer.send()
    statuses = [
        customer.api.call("GET", "/app/none").status,
        customer.api.call("POST", "/app", raw=b"{").status,
        customer.api.call("POST", "/app", {"name": 1}).status,
        customer.api.call("GET", "/app", headers={"authorization": "Bearer nobody"}).status,
    ]
    receiver.wait(path, 3)

    assert all(400 <= status < 500 for status in statuses), statuses
    assert len(sentry.reports()) == before


def test_reports_hold_no_values_of_anybody(system: System, customer: Customer, sentry: Sentry) -> None:
    sent = sentry.raw
    assert sentry.reports()
    for secret in (PAYLOAD, customer.api.key, MAIL, "canary.made", "postgresql+", "redis://:", "Bearer "):
        assert secret not in sent, secret
    frames = [
        frame
        for report in sentry.reports()
        for one in report["exception"]["values"]
        for frame in (one.get("stacktrace") or {"frames": []})["frames"]
    ]
    assert frames
    assert not any("vars" in frame for frame in frames)
    assert not any(report.keys() & {"request", "user", "breadcrumbs", "modules"} for report in sentry.reports())


def test_the_main_process_reports_a_child_that_was_killed_and_the_next_child_reports_too(
    system: System, customer: Customer, sentry: Sentry, database: DatabaseUrls, receiver: Receiver
) -> None:
    (child,) = children(system.children["worker"].pid)
    os.kill(child, signal.SIGKILL)
    killed = sentry.wait(lambda one: "SIGKILL" in one["logentry"]["formatted"])
    assert (killed["release"], killed["tags"]) == ("r-17", {"component": "worker"})

    endpoint = customer.endpoint(f"{receiver.base}{receiver.path()}")
    body = {"since": (utc_now() - timedelta(hours=1)).isoformat()}
    with lost(database, "UPDATE", "background_tasks", WORKER):
        path = f"/app/{customer.app}/endpoint/{endpoint}/replay-missing"
        customer.api.call("POST", path, body, headers=of_request("broken-anew"))
        sentry.wait(lambda one: one["tags"].get("request_id") == "broken-anew", 30)
