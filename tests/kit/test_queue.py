"""Wake-ups: at once when idle, few under load, and no kind waits for another."""

import time
from collections.abc import Iterator

import pytest
import redis

from app.kit.queue import PAUSE_SECONDS, QUEUES, Waker
from app.kit.wakes import Wake
from tests.e2e.broker import running_broker

SOON_SECONDS = 5.0


@pytest.fixture
def url() -> Iterator[str]:
    """A broker from which nobody else takes."""
    with running_broker() as started:
        yield started.url


@pytest.fixture
def broker(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture
def waker(url: str, broker: redis.Redis) -> Iterator[Waker]:
    """One that is connected and has rested."""
    made = Waker(url)
    made.start()
    made.wake(Wake.background)
    wait_for(broker, Wake.background, 1)
    time.sleep(PAUSE_SECONDS)
    broker.flushdb()
    yield made
    made.stop()


def sent(broker: redis.Redis, wake: Wake) -> int:
    return int(broker.llen(QUEUES[wake]))


def wait_for(broker: redis.Redis, wake: Wake, number: int, seconds: float = SOON_SECONDS) -> None:
    """Returns when so many have been sent."""
    end = time.monotonic() + seconds
    while sent(broker, wake) < number:
        assert time.monotonic() < end, "it was not sent in time"
        time.sleep(0.005)


def test_when_idle_it_is_sent_at_once(waker: Waker, broker: redis.Redis) -> None:
    waker.wake()
    wait_for(broker, Wake.delivery, 1, PAUSE_SECONDS)


def test_however_often_it_is_asked_for_few_are_sent_and_one_after_the_last(waker: Waker, broker: redis.Redis) -> None:
    end = time.monotonic() + 3.5 * PAUSE_SECONDS
    while time.monotonic() < end:
        waker.wake()
        time.sleep(0.001)
    time.sleep(2 * PAUSE_SECONDS)
    assert 3 <= sent(broker, Wake.delivery) <= 5


def test_no_kind_waits_for_the_pause_of_another(waker: Waker, broker: redis.Redis) -> None:
    waker.wake(Wake.delivery)
    wait_for(broker, Wake.delivery, 1)
    waker.wake(Wake.delivery)
    waker.wake(Wake.background)
    wait_for(broker, Wake.background, 1)
    assert sent(broker, Wake.delivery) == 1
