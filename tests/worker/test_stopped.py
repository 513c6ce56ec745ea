"""Deliveries of a suspended or deleted organisation wait, and go on when it is back."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app.features.organisations import operations
from app.models import DueState, EndpointGate, Environment
from tests.worker.house import App, House

Act = Callable[[Session, UUID], None]


def act(house: House, app: App, operation: Act) -> None:
    organisation_id = house.one(Environment, id=app.environment_id).organisation_id
    with house.sessions.begin() as db:
        operation(db, organisation_id)


def test_while_suspended_nothing_is_claimed_and_afterwards_everything_at_once(house: House) -> None:
    app, other = house.app(), house.app()
    house.endpoint(app)
    house.endpoint(other)
    house.send(app, 3)
    house.send(other, 1)
    act(house, app, operations.suspend_organisation)
    (job,) = house.claim().jobs
    assert job.application_id == other.id
    assert house.states(application_id=app.id) == {DueState.held: 3}
    assert {row.attempt for row in house.due(application_id=app.id)} == {0}
    assert house.claim().jobs == []
    act(house, app, operations.resume_organisation)
    assert len(house.claim().jobs) == 3


def test_what_a_person_asks_for_waits_too(house: House) -> None:
    app = house.app()
    endpoint = house.endpoint(app)
    (message,) = house.send(app)
    house.finish(house.claim_one())
    act(house, app, operations.suspend_organisation)
    house.resend(app, endpoint, message)
    assert house.claim().jobs == []
    act(house, app, operations.resume_organisation)
    assert [job.key.message_id for job in house.claim().jobs] == [message]


def test_a_retry_that_falls_due_waits(house: House) -> None:
    app = house.app()
    house.endpoint(app)
    house.send(app)
    job = house.claim_one()
    act(house, app, operations.suspend_organisation)
    house.finish(job, status=500)
    house.age(3600)
    house.open_gates()
    assert house.claim().jobs == []
    assert len(house.due(application_id=app.id)) == 1


def test_gates_of_a_stopped_organisation_are_rarely_looked_at(house: House) -> None:
    app = house.app()
    house.endpoints(app, 3)
    house.send(app)
    act(house, app, operations.suspend_organisation)
    house.claim()
    assert {gate.next_at > house.now(240) for gate in house.rows(EndpointGate, application_id=app.id)} == {True}


@pytest.mark.parametrize("operation", [operations.suspend_organisation, operations.delete_organisation])
def test_what_comes_in_while_it_is_stopped_waits(house: House, operation: Act) -> None:
    app = house.app()
    house.endpoint(app)
    house.send(app)
    act(house, app, operation)
    house.send(app)
    assert house.claim().jobs == []


def test_a_failing_endpoint_is_not_disabled_for_the_time_of_a_suspension(house: House) -> None:
    app = house.app()
    endpoint = house.endpoint(app)
    house.make_unwell(app, endpoint, consecutive_failures=2, fail_since=-6 * 86400.0)
    act(house, app, operations.suspend_organisation)
    act(house, app, operations.resume_organisation)
    assert (house.health(endpoint).fail_since, house.health(endpoint).consecutive_failures) == (None, 2)


def test_a_deleted_organisation_that_was_suspended_stays_so_when_it_is_back(house: House) -> None:
    app = house.app()
    house.endpoint(app)
    for operation in (
        operations.suspend_organisation,
        operations.delete_organisation,
        operations.restore_organisation,
    ):
        act(house, app, operation)
    house.send(app)
    assert house.claim().jobs == []
    act(house, app, operations.resume_organisation)
    house.open_gates()
    assert len(house.claim().jobs) == 1
