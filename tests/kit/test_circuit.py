"""An outage is looked after by itself, until a trial goes well."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest
from redis.exceptions import ConnectionError as NoConnectionError

from app.kit import circuit as module
from app.kit.circuit import Circuit

_request = ContextVar("request", default="none")


@pytest.fixture(autouse=True)
def short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.01)


async def after_an_outage(trial: Callable[[], Awaitable[object]]) -> str | None:
    """What is answered once an outage is over that ends when the trial goes well."""
    circuit = Circuit(5.0, 1, "without", "again", use="test", trial=trial)
    assert await circuit.ask(_fail) is None
    for _ in range(500):
        if (found := await circuit.ask(_answer)) is not None:
            return found
        await asyncio.sleep(0.01)
    return None


async def test_a_trial_is_made_for_no_request() -> None:
    _request.set("the one that failed")
    seen = []

    async def trial() -> bool:
        seen.append(_request.get())
        return True

    assert await after_an_outage(trial) == "answer"
    assert seen == ["none"]


async def test_a_trial_that_breaks_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    tries = []

    async def trial() -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise LookupError
        return True

    assert await after_an_outage(trial) == "answer"
    assert caplog.messages == ["redis_unavailable", "redis_trial_failed", "redis_available"]


async def _fail() -> str:
    raise NoConnectionError


async def _answer() -> str:
    return "answer"
