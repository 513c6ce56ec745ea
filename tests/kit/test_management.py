"""Each process tells of itself on a port of its own, and none is held up where there is no port."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.cli.dev.ports import free_range, is_free
from app.cli.dev.process import wait_until
from app.kit.telemetry import management
from app.kit.telemetry.management import Management, managed
from app.kit.telemetry.metrics import LEASES_EXPIRED
from tests.servers import ROOT

HOST = "127.0.0.1"


def get(port: int | None, path: str = "/metrics", accept: str = "text/plain") -> tuple[int, str]:
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", headers={"accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def started(port: int, ports: int = 3) -> Management:
    one = Management(HOST, port, ports)
    one.start()
    return one


def test_each_takes_the_first_port_that_is_free() -> None:
    first = free_range(3)
    one, other = started(first), started(first)
    assert (one.port, other.port) == (first, first + 1)
    one.stop()
    third = started(first)
    assert third.port == first
    third.stop()
    other.stop()


def test_what_was_counted_is_told() -> None:
    with managed(HOST, port := free_range(1), 1):
        LEASES_EXPIRED.inc(0)
        status, text = get(port)
    assert status == 200
    assert "# TYPE postrider_leases_expired_total counter" in text


def test_exemplars_are_for_whoever_reads_openmetrics() -> None:
    with managed(HOST, port := free_range(1), 1):
        LEASES_EXPIRED.inc(1, {"trace_id": "0123456789abcdef"})
        _, plain = get(port)
        _, full = get(port, accept="application/openmetrics-text; version=1.0.0")
    assert "0123456789abcdef" not in plain
    assert '# {trace_id="0123456789abcdef"}' in full


def test_a_probe_says_what_is_wrong_with_503() -> None:
    with managed(HOST, port := free_range(1), 1, {"/livez": lambda: None, "/readyz": lambda: "no database"}):
        assert get(port, "/livez") == (200, "ok\n")
        assert get(port, "/readyz") == (503, "no database\n")
        assert get(port, "/elsewhere")[0] == 404


def test_nothing_is_served_where_no_port_is_given() -> None:
    with managed(HOST, None, 16):
        assert not any(thread.name == "management" for thread in threading.enumerate())


def test_the_oldest_connection_makes_room_for_a_newer_and_is_counted() -> None:
    with managed(HOST, port := free_range(1), 1), ExitStack() as stack:
        before = dropped()
        silent = [stack.enter_context(connection(port)) for _ in range(management.CONNECTIONS + 1)]
        assert silent[0].recv(1) == b""
        assert get(port, "/metrics")[0] == 200
        assert dropped() == before + 2


def test_a_connection_ends_in_time_however_slowly_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "SERVE_SECONDS", 0.3)
    with managed(HOST, port := free_range(1), 1), connection(port) as slow:
        before = dropped()
        assert wait_until(lambda: is_over(slow), 5)
        assert dropped() == before + 1


def test_metrics_take_a_small_share_of_a_processor_however_often_they_are_asked_for() -> None:
    registry = CollectorRegistry()
    registry.register(Costly())
    one = Management(HOST, free_range(1), 1, registry=registry)
    one.start()
    began = time.monotonic()
    for _ in range(5):
        assert get(one.port)[0] == 200
    assert time.monotonic() - began >= 4 * Costly.SECONDS / management.METRICS_SHARE
    one.stop()


class Costly(Collector):
    """Takes time of a processor whenever it is asked."""

    SECONDS = 0.02

    def collect(self) -> Iterator[Metric]:
        until = time.thread_time() + self.SECONDS
        while time.thread_time() < until:
            pass
        yield Metric("costly", "", "gauge")


def connection(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=5)


def is_over(slow: socket.socket) -> bool:
    """Whether the other side has ended a connection on which it gets one byte more."""
    try:
        slow.sendall(b"G")
    except OSError:
        return True
    return False


def dropped() -> float:
    return REGISTRY.get_sample_value("postrider_telemetry_dropped_total", {"signal": "metrics"}) or 0.0


def test_who_finds_no_port_gets_one_when_one_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "_RETRY_SECONDS", 0.05)
    first = free_range(1)
    one, other = started(first, 1), started(first, 1)
    assert other.port is None
    one.stop()
    assert wait_until(lambda: other.port == first, 5)
    assert get(first)[0] == 200
    other.stop()


def test_a_child_does_not_keep_the_port_beyond_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    one = started(free_range(1), 1)
    taken = one.port
    assert taken
    read, write = os.pipe()
    if not (child := os.fork()):
        os.read(read, 1)
        os._exit(0)
    one.stop()
    assert is_free(taken)
    os.write(write, b".")
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)


def test_a_child_of_one_that_serves_no_more_has_nothing_to_close() -> None:
    """What fails after a fork is written where nobody hears of it, hence in a process of its own."""
    code = f"""
import os
from app.kit.telemetry.management import managed
with managed("{HOST}", {free_range(1)}, 1):
    pass
if not (child := os.fork()):
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_child_keeps_no_connection_that_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "SERVE_SECONDS", 0.2)
    held = threading.Event()

    def fault() -> None:
        held.wait(20)

    with (
        managed(HOST, port := free_range(1), 1, {"/slow": fault}),
        socket.create_connection((HOST, port), timeout=5) as asker,
    ):
        asker.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert asker.recv(1) == b""
        assert sockets_of_a_child(port) == 0
        held.set()


def sockets_of_a_child(port: int) -> int:
    """How many sockets on a port a process has that is forked now."""
    if not (child := os.fork()):
        os._exit(sum(is_on(port, int(one.name)) for one in Path("/proc/self/fd").iterdir()))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_on(port: int, number: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(number)) as one:
            return one.family == socket.AF_INET and one.getsockname()[1] == port
    except OSError:
        return False
