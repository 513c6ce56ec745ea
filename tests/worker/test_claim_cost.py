"""What a claim costs does not depend on what is finished: it asks nothing of the tables that keep it."""

import re

from tests.worker.house import LEASE, House

FINISHED = re.compile(r"\b(messages|deliveries|attempts|message_event_ids|idempotency_keys|delivery_actions)\b")
A_DAYS_PAYLOADS = re.compile(r"\bpayloads\.expires_on = \$\d+::DATE")


def test_a_claim_asks_no_table_that_keeps_what_is_finished(house: House) -> None:
    app = house.app(throttle_rate=1000)
    house.endpoint(app, throttle_rate=1000)
    calm = house.app()
    house.endpoint(calm)
    house.send(app, 12)
    house.send(calm, 12)
    with house.statements() as seen:
        first = house.claim()
        house.age(LEASE.total_seconds())
        again = house.claim()
    assert len(first.jobs) >= 10
    assert len(again.jobs) >= 10
    assert any("due_deliveries" in one for one in seen)
    assert [one for one in seen if FINISHED.search(one)] == []
    of_payloads = [one for one in seen if re.search(r"\bpayloads\b", one)]
    assert of_payloads
    assert all(A_DAYS_PAYLOADS.search(one) for one in of_payloads)
