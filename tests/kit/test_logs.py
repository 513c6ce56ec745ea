"""What a log line looks like, what it never holds, and that nobody waits for it."""

import contextvars
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from app.kit.telemetry import logs
from app.kit.telemetry.about import About, begin, current
from app.kit.telemetry.lines import Console, Json
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.outlet import DROPPED, ROOM, Outlet
from app.kit.telemetry.sampling import Sampler
from app.kit.telemetry.scrub import MOST, scrubbed
from tests.servers import ROOT

Line = dict[str, Any]
MINUTE = 60.0


def _line(**extra: Any) -> Line:  # noqa: ANN401 a record takes anything
    record = logging.LogRecord("app.some", logging.WARNING, "file.py", 1, "seen %s", ("it",), **extra)
    line: Line = json.loads(Json("api").format(record))
    return line


def _named() -> Line:
    begin(About(request_id="request-1", message_id=UUID(int=1), endpoint_id="ep_two"))
    return _line(exc_info=None)


class Collected(logging.Handler):
    """The lines that would have been written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self.setFormatter(Json("worker"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def collected() -> Iterator[Collected]:
    """What the logger `tests.some` is told."""
    handler, logger = Collected(), logging.getLogger("tests.some")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)


def test_a_line_is_an_object_that_names_its_work() -> None:
    line = contextvars.copy_context().run(_named)
    assert (line["event"], line["level"], line["logger"]) == ("seen it", "warning", "app.some")
    assert (line["component"], line["pid"]) == ("api", os.getpid())
    assert (line["request_id"], line["endpoint_id"]) == ("request-1", "ep_two")
    assert line["message_id"] == "msg_00000000000000000000000001"
    assert line["timestamp"].endswith("Z")
    assert "request_id" not in _line(exc_info=None)


def test_an_event_of_ours_has_its_name_and_its_fields(collected: Collected) -> None:
    logger = get_logger("tests.some")
    logger.warning("redis_unavailable", error="ConnectionError", tries=2)
    logger.debug("never_seen")
    (line,) = collected.lines
    assert (line["event"], line["error"], line["tries"]) == ("redis_unavailable", "ConnectionError", 2)
    assert (line["level"], line["logger"], line["component"]) == ("warning", "tests.some", "worker")


def test_an_error_comes_with_its_trace_in_one_line(collected: Collected) -> None:
    try:
        int("x")
    except ValueError:
        get_logger("tests.some").exception("went_wrong")
        line = _line(exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in line["exception"]
    assert "ValueError: invalid literal" in collected.lines[0]["exception"]


def test_ids_survive_a_journey(collected: Collected) -> None:
    sent = About(request_id="request-1", organisation_id=UUID(int=7), task="some").known()
    received = About.read({**sent, "unknown": "thing"})
    assert received.known() == sent
    assert current().known() == {}


def test_people_read_lines_at_a_terminal() -> None:
    record = logging.LogRecord("app.some", logging.INFO, "file.py", 1, "seen", (), None)
    text = Console("api", colors=False).format(record)
    assert "seen" in text
    assert "app.some" in text
    assert not text.startswith("{")


def test_handlers_of_others_stay() -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    assert before, "pytest has handlers of its own"
    logs.install("api")
    assert root.handlers == before


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("https://me:s3cret@host/x", "https://***@host/x"),
        ("GET /portal?token=s3cret&x=1 HTTP", "GET /portal?token=***&x=*** HTTP"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("key whk_live_0123456789abcdef_x is bad", "key whk_*** is bad"),
        ("secret whsec_AAAA/+==", "secret whsec_***"),
        ("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "***"),
        ("550 <ann.o'nym+x@example.com> is unknown", "550 <***> is unknown"),
        ("session aB3_defghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVW ended", "session *** ended"),
        (
            "duplicate key\nDETAIL:  Key (email)=(a\nb) already exists.\nHINT:  none",
            "duplicate key\nDETAIL: ***\nHINT:  none",
        ),
        ("x [type=int, input_value='s3cret', input_type=str]", "x [type=int, input_value=***, input_type=str]"),
        ("partition of messages for 2030-01-01 in use", "partition of messages for 2030-01-01 in use"),
        ("org_01jd8xq3v7e2x9w4c5t6r7y8z0 and 4bf92f3577b34da6a3ce929d0e0e4736", None),
    ],
)
def test_what_others_say_is_scrubbed(text: str, instead: str | None) -> None:
    assert scrubbed(text) == (text if instead is None else instead)


def test_a_text_without_end_is_cut() -> None:
    assert len(scrubbed("x " * MOST)) <= MOST + 3


def test_a_sampler_lets_a_number_through_each_second_and_counts_the_rest() -> None:
    sampler = Sampler("tests_line", 3)
    _await_second()
    assert [sampler.takes() for _ in range(5)] == [True] * 3 + [False] * 2
    assert REGISTRY.get_sample_value("postrider_log_lines_left_out_total", {"event": "tests_line"}) == 2
    _await_second()
    assert sampler.takes()
    assert not Sampler("tests_other", 0).takes()


class Written:
    """An outlet to a descriptor of its own, and what came of it."""

    def __init__(self, descriptor: int) -> None:
        self.outlet = Outlet(descriptor)
        self.outlet.setFormatter(Json("api"))
        self.before = self._count()

    def log(self, event: str) -> None:
        self.outlet.handle(logging.LogRecord("tests", logging.INFO, "file.py", 1, event, (), None))

    @property
    def dropped(self) -> float:
        return self._count() - self.before

    @staticmethod
    def _count() -> float:
        return REGISTRY.get_sample_value("postrider_telemetry_dropped_total", {"signal": "logs"}) or 0.0


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_is_told_of_later() -> None:
    reader, writer = os.pipe()
    written, many = Written(writer), 4 * ROOM
    began = time.monotonic()
    for number in range(many):
        written.log(f"line {number}")
    assert time.monotonic() - began < MINUTE / 20
    lost = written.dropped
    assert 0 < lost < many

    lines = _read(reader, lambda some: len(some) > many - lost and _told(some) == lost)
    assert lines[0]["event"] == "line 0"
    assert {one["level"] for one in lines if one["event"] == DROPPED} == {"warning"}


def test_a_full_disk_is_counted_and_told_of_when_there_is_room(tmp_path: Path) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    written = Written(descriptor)
    written.log("lost")
    written.outlet.flush()
    assert written.dropped == 1

    with (tmp_path / "log").open("wb") as room:
        os.dup2(room.fileno(), descriptor)
        written.log("kept")
        written.outlet.flush()
    events = [json.loads(text) for text in (tmp_path / "log").read_text().splitlines()]
    assert [(one["event"], one.get("lines")) for one in events] == [("kept", None), (DROPPED, 1)]


def test_a_line_that_the_disk_took_half_of_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    written, whole, taken = Written(room), os.write, [20]

    def tight(descriptor: int, data: bytes) -> int:
        if not taken:
            raise OSError(28, "No space left on device")
        return whole(descriptor, data[: taken.pop()])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", tight)
        written.log("torn")
        written.outlet.flush()
    written.log("kept")
    written.outlet.flush()
    half, *rest = (tmp_path / "log").read_text().splitlines()
    assert len(half) == 20
    assert [json.loads(text)["event"] for text in rest] == ["kept", DROPPED]


def test_a_reader_that_is_gone_is_no_error_of_whoever_logs() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    written = Written(writer)
    written.log("lost")
    written.outlet.flush()
    assert written.dropped == 1


def test_what_cannot_be_formatted_is_a_line_all_the_same() -> None:
    reader, writer = os.pipe()
    written = Written(writer)
    written.outlet.handle(logging.LogRecord("tests", logging.INFO, "file.py", 1, "%d", ("x",), None))
    (line,) = _read(reader, lambda some: len(some) == 1)
    assert (line["event"], line["logger"], line["error"]) == ("line_not_written", "tests", "TypeError")


def test_a_forked_process_writes_its_own_lines_only() -> None:
    code = """
import logging, os, sys
from app.kit.telemetry import logs
logs.install("worker", "json")
log = logs.get_logger("tests")
log.info("before")
child = os.fork()
log.info("child" if child == 0 else "parent")
if child == 0:
    logs.flush()
    os._exit(0)
os.waitpid(child, 0)
raise RuntimeError("the end")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(text) for text in done.stderr.splitlines()]
    assert sorted(one["event"] for one in lines) == ["before", "child", "parent", "process_crashed"]
    (crash,) = [one for one in lines if one["event"] == "process_crashed"]
    assert (crash["level"], crash["exception"].splitlines()[-1]) == ("critical", "RuntimeError: the end")


def _await_second() -> None:
    second = int(time.monotonic())
    while int(time.monotonic()) == second:
        time.sleep(0.001)


def _told(lines: list[Line]) -> int:
    """How many lines were said to be dropped, all in all: it may be said before the last of them is."""
    return sum(one["lines"] for one in lines if one["event"] == DROPPED)


def _read(reader: int, is_all: Callable[[list[Line]], bool]) -> list[Line]:
    """What comes until that is all, in a thread's time."""
    found: list[Line] = []

    def read() -> None:
        with os.fdopen(reader) as pipe:
            while not is_all(found):
                found.append(json.loads(next(pipe)))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "there are fewer lines"
    return found
