"""Pools of workers: each sends its lanes, one keeps the house, and a pool that is alone does all of it."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis
from click.testing import CliRunner

from app.cli.main import main
from app.features.deliveries.pools import queues_of
from app.kit.wakes import Wake
from app.models import Lane
from app.settings import Settings
from tests.receiver import Answer, Receiver
from tests.servers import Servers
from tests.system import System, prepared_system
from tests.worker.house import App, House

PATIENCE_SECONDS = 30.0
LANES = "POSTRIDER_DELIVERY__LANES"
QUEUES_OF_POOLS = [
    (list(Lane), ["wake", "wake-retry", "wake-replay", "maintenance"]),
    ([Lane.first], ["wake"]),
    ([Lane.retry, Lane.replay], ["wake-retry", "wake-replay"]),
    ([], ["maintenance"]),
]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


class Pools:
    """Pools of one worker process each, started one after the other."""

    def __init__(self, environment: dict[str, str], stack: ExitStack) -> None:
        self._environment = environment
        self._stack = stack

    def start(self, lanes: str, *options: str) -> System:
        """A pool for these lanes, which is ready."""
        pool = self._stack.enter_context(prepared_system(self._environment | {LANES: lanes}))
        pool.start_part("worker", "--processes=1", *options)
        wait_for(lambda: answers(pool.management_ports("worker")[1], "/readyz"))
        return pool


@contextmanager
def page(port: int, path: str) -> Iterator[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        yield answer.read().decode()


def answers(port: int, path: str) -> bool:
    try:
        with page(port, path):
            return True
    except (urllib.error.URLError, OSError):
        return False


def tells_figures(pool: System) -> bool:
    """Whether a pool's process tells what is true of the whole installation."""
    with page(pool.management_ports("worker")[1], "/metrics") as text:
        return "postrider_figures_timestamp_seconds" in text


@pytest.fixture
def pools(environment: dict[str, str]) -> Iterator[Pools]:
    with ExitStack() as stack:
        yield Pools(environment, stack)


@pytest.fixture
def app(house: House) -> App:
    return house.app()


@pytest.fixture
def path(house: House, receiver: Receiver, app: App) -> str:
    path = receiver.path()
    house.endpoint(app, url=receiver.base + path)
    return path


def test_a_retry_waits_for_the_pool_that_sends_retries(
    pools: Pools, house: House, receiver: Receiver, app: App, path: str
) -> None:
    receiver.tell(path, Answer(500), Answer(200))
    pools.start("first")
    house.send(app)
    wait_for(lambda: len(house.attempts(app)) == 1)
    house.age(10)
    time.sleep(2.5)  # it looks every second
    assert len(house.attempts(app)) == 1

    pools.start("retry")

    wait_for(lambda: len(house.attempts(app)) == 2)
    assert house.due() == []


def test_maintenance_delivers_nothing_and_tells_the_figures(pools: Pools, house: House, app: App, path: str) -> None:
    maintenance = pools.start("none")
    assert '"lanes": "none", "queues": "maintenance"' in maintenance.log("worker")
    house.send(app)
    wait_for(lambda: tells_figures(maintenance))
    assert house.attempts(app) == []
    maintenance.stop()

    delivering = pools.start("first")

    wait_for(lambda: len(house.attempts(app)) == 1)
    time.sleep(6)  # whoever tells figures looks every five seconds whether it is its turn
    assert not tells_figures(delivering)


def test_who_does_maintenance_calls_the_pool_that_sends_replays(environment: dict[str, str], servers: Servers) -> None:
    with pytest.MonkeyPatch.context() as patch, redis.Redis.from_url(servers.redis_url) as broker:
        for name, value in environment.items():
            patch.setenv(name, value)
        from worker.celery_app import _wake_others

        _wake_others(Lane.replay)
        called = broker.rpop("wake-replay")

    assert isinstance(called, bytes)
    assert json.loads(called)["headers"]["task"] == Wake.delivery


@pytest.mark.parametrize(("lanes", "queues"), QUEUES_OF_POOLS)
def test_a_pool_listens_to_the_queues_of_its_lanes(lanes: list[Lane], queues: list[str]) -> None:
    assert queues_of(lanes) == queues


def test_who_names_no_lanes_sends_all(settings: Settings) -> None:
    assert [Lane[name] for name in settings.delivery.lanes] == list(Lane)


@pytest.mark.parametrize(
    ("lanes", "options", "message"),
    [
        ("first", ["--queues", "wake,mail"], "there is no queue 'mail': choose from wake, wake-retry, wake-replay,"),
        ("first", ["--queues", "wake-retry"], "the queue wake-retry is for the lane retry: name it in"),
        ("", [], "POSTRIDER_DELIVERY__LANES: value error, name lanes, or say 'none' for a pool that delivers nothing"),
        (",", [], "POSTRIDER_DELIVERY__LANES: value error, name lanes, or say 'none'"),
        ("firts", [], "POSTRIDER_DELIVERY__LANES__0: input should be 'first', 'retry' or 'replay'"),
    ],
)
def test_what_is_wrong_with_a_pool_is_said_in_a_line(
    environment: dict[str, str], lanes: str, options: list[str], message: str
) -> None:
    done = CliRunner(env=environment | {LANES: lanes}).invoke(main, ["worker", *options])

    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
