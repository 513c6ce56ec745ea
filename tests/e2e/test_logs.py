"""What the processes of an installation write: lines of one schema, by which a request is followed to its attempts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.cli.dev.process import wait_until
from app.cli.dev.roles import DatabaseUrls
from app.kit.clock import utc_now
from tests.canaries import PAYLOAD, keep_said
from tests.e2e.customer import Customer
from tests.receiver import Answer, Receiver
from tests.servers import ROOT, Servers, process_environment
from tests.system import System, running_system

Line = dict[str, Any]
ALWAYS = {"timestamp", "level", "event", "logger", "component", "pid"}
LEVELS = {"debug", "info", "warning", "error", "critical"}
PARTS = ("api", "worker", "beat")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def system(servers: Servers, database: DatabaseUrls) -> Iterator[System]:
    """An installation of this module's own, whose lines are all of what this module did."""
    environment = process_environment(database, servers.own_redis_url())
    with running_system(environment, api=1, workers=1) as started:
        yield started


def lines(system: System, part: str) -> list[Line]:
    return [json.loads(text) for text in system.log(part).splitlines()]


def events(system: System, part: str, name: str, **fields: object) -> list[Line]:
    return [one for one in lines(system, part) if one["event"] == name and one.items() >= fields.items()]


def test_a_request_is_followed_from_its_answer_to_its_attempts(
    system: System, customer: Customer, receiver: Receiver
) -> None:
    path = receiver.path(Answer(500), Answer(204))
    endpoint = customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 1])
    body = {"eventType": "e2e.test", "payload": {"text": PAYLOAD}}
    answer = customer.api.call("POST", f"/app/{customer.app}/msg", body, headers={"x-request-id": "request-one"})
    message = answer.body["id"]
    receiver.wait(path, 2)

    about = {"request_id": "request-one", "message_id": message}
    assert wait_until(lambda: len(events(system, "worker", "attempt_made", **about)) == 2, 10)
    (served,) = events(system, "api", "request_served", **about)
    failed, delivered = events(system, "worker", "attempt_made", **about)
    assert (served["method"], served["operation"], served["status"]) == ("POST", "v1.message.create", 202)
    assert (failed["success"], failed["status"], failed["attempt"]) == (False, 500, 1)
    assert (delivered["success"], delivered["status"], delivered["attempt"]) == (True, 204, 2)
    assert failed["trace_id"] == served["trace_id"]
    assert failed["attempt_id"] != delivered["attempt_id"]
    assert {one["endpoint_id"] for one in (failed, delivered)} == {endpoint}
    for name in ("organisation_id", "application_id"):
        assert {one[name] for one in (served, failed, delivered)} == {served[name]}
    assert {one["level"] for one in (served, failed, delivered)} == {"info"}


def test_the_lines_of_a_task_name_the_request_that_asked_for_it(
    system: System, customer: Customer, receiver: Receiver
) -> None:
    endpoint = customer.endpoint(f"{receiver.base}{receiver.path()}")
    customer.send()
    # A sweep that comes before the task carries it on for nobody.
    assert any(is_told_of(system, customer, endpoint, f"request-{number}") for number in range(5))


def is_told_of(system: System, customer: Customer, endpoint: str, request_id: str) -> bool:
    """Whether a request for a background task is named by the lines of the task."""
    path = f"/app/{customer.app}/endpoint/{endpoint}/replay-missing"
    body = {"since": (utc_now() - timedelta(hours=1)).isoformat()}
    asked = customer.api.call("POST", path, body, headers={"x-request-id": request_id})
    assert asked.status == 202, asked.body
    about = {"request_id": request_id, "task": "background.run"}
    return wait_until(lambda: events(system, "worker", "background_task_ended", **about) != [], 4)


def test_migrations_write_them_too(system: System) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "migrate"],
        cwd=ROOT,
        env=dict(system.environment),
        capture_output=True,
        text=True,
        check=True,
    )
    keep_said("migrate", done.stderr)
    written = [json.loads(text) for text in done.stderr.splitlines()]
    assert {(one["component"], one["logger"]) for one in written} == {("migrate", "alembic.runtime.migration")}
    assert done.stdout == ""


def test_every_part_writes_nothing_but_lines_of_the_schema(system: System, customer: Customer) -> None:
    customer.api.call("GET", "/app")
    system.stop()
    for part in PARTS:
        written = lines(system, part)
        assert written, part
        for line in written:
            assert line.keys() >= ALWAYS, line
            assert line["level"] in LEVELS, line
            assert line["component"] == part, line
            assert "\x1b" not in line["event"], line
    assert any("Warm shutdown" in one["event"] for one in lines(system, "worker"))
    assert any("Listening at" in one["event"] for one in lines(system, "api"))
    assert any(one["logger"] == "uvicorn.error" for one in lines(system, "api"))
