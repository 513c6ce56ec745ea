"""What the processes of a running system export."""

import time
from datetime import UTC, datetime

from prometheus_client.samples import Sample

from app.kit.telemetry import figures
from tests.e2e.customer import Customer, eventually
from tests.exported import exported, scraped, total
from tests.faults.processes import descendants, kill, listening_at, wait_for
from tests.observe.exported import samples
from tests.receiver import Receiver
from tests.servers import Servers, cloned_database, process_environment
from tests.system import System, running_system
from worker.figures import readings


def test_a_message_is_counted_from_its_post_to_its_receiver_and_figures_are_told_once(
    system: System, customer: Customer, receiver: Receiver
) -> None:
    before, sent_before = exported(system, "api"), exported(system, "worker")
    customer.endpoint(f"{receiver.base}{receiver.path()}")
    customer.send()

    def delivered() -> float:
        now = exported(system, "worker")
        return total(now, "postrider_deliveries_total", outcome="delivered") - total(
            sent_before, "postrider_deliveries_total", outcome="delivered"
        )

    eventually(lambda: delivered() == 1)
    api, worker = exported(system, "api"), exported(system, "worker")
    for name, labels in {
        "postrider_messages_total": {"outcome": "accepted"},
        "postrider_http_requests_total": {"route": "/api/v1/app/{app_id}/msg", "status": "202"},
        "postrider_accept_seconds_count": {},
    }.items():
        assert total(api, name, **labels) - total(before, name, **labels) == 1, name
    assert total(api, "postrider_http_requests_total", route="/api/v1/app/{app_id}/endpoint", status="201") >= 1
    assert total(worker, "postrider_attempts_total", lane="first", result="2xx") >= 1
    assert total(worker, "postrider_tasks_total", task="delivery.wake", outcome="succeeded") >= 1
    eventually(lambda: len(_tellers(system)) == 1)


def test_what_is_exported_stands_in_the_catalogues(system: System) -> None:
    found = {one.name for one in exported(system, "api", "worker", "beat") if not one.name.endswith("_created")}
    assert {one for one in found if not one.startswith(("process_", "python_"))} - samples() == set()
    assert len(found & samples()) > 50


def test_each_loop_says_when_it_last_turned(system: System) -> None:
    def turned() -> dict[str, float]:
        parts = (one for part in ("api", "worker", "beat") for one in exported(system, part))
        beats = [one for one in parts if one.name == "postrider_heartbeat_timestamp_seconds"]
        # A loop that this process does not have says 0.
        return {one.labels["loop"]: one.value for one in beats if one.value}

    eventually(lambda: set(turned()) == {"loop", "engine", "transport", "sweeper", "beat"})
    assert all(time.time() - moment < 60 for moment in turned().values()), turned()


def test_when_the_process_that_tells_the_figures_is_killed_another_takes_over(servers: Servers, template: str) -> None:
    with (
        cloned_database(servers, template) as urls,
        running_system(process_environment(urls, servers.own_redis_url()), api=1) as system,
    ):
        (port,) = eventually(lambda: _tellers(system))
        (killed,) = _at(system, port)
        kill(killed)
        took = wait_for(lambda: _pids(system).isdisjoint({killed}) and len(_pids(system)) == 1, 30, "another's turn")
        (now,) = _tellers(system)
        told = {one.labels["figure"] for one in _told(now)}
        assert told == set(readings(datetime.now(UTC)))
        assert took < 15


def _tellers(system: System) -> list[int]:
    """The ports of the workers' processes that tell what is true of the whole installation."""
    return [port for port in system.management_ports("worker") if _told(port)]


def _told(port: int) -> list[Sample]:
    return [one for one in scraped(port) if one.name == figures.READ_AT.name]


def _pids(system: System) -> set[int]:
    return {pid for port in _tellers(system) for pid in _at(system, port)}


def _at(system: System, port: int) -> list[int]:
    return listening_at(port, descendants(system.children["worker"].pid))
