"""What the processes of a running system export."""

import time

from tests.e2e.customer import Customer, eventually
from tests.exported import exported, total
from tests.receiver import Receiver
from tests.system import System


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
    eventually(lambda: _tellers(system) == 1)


def test_each_loop_says_when_it_last_turned(system: System) -> None:
    def turned() -> dict[str, float]:
        parts = (one for part in ("api", "worker", "beat") for one in exported(system, part))
        beats = [one for one in parts if one.name == "postrider_heartbeat_timestamp_seconds"]
        # A loop that this process does not have says 0.
        return {one.labels["loop"]: one.value for one in beats if one.value}

    eventually(lambda: set(turned()) == {"loop", "engine", "transport", "sweeper", "beat"})
    assert all(time.time() - moment < 60 for moment in turned().values()), turned()


def _tellers(system: System) -> int:
    return len([one for one in exported(system, "worker") if one.name == "postrider_figures_timestamp_seconds"])
