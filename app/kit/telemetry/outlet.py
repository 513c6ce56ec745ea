"""Where log lines leave a process: nobody waits for it, and nobody fails because of it."""

import logging
import os
import select
import threading
from queue import SimpleQueue

from app.kit.telemetry.lines import FIELDS
from app.kit.telemetry.metrics import TELEMETRY_DROPPED

ROOM = 2000
"""Lines that wait at most; more are dropped."""
FLUSH_SECONDS = 1.0
DROPPED = "log_lines_dropped"


class Outlet(logging.Handler):
    """Hands lines to a thread that writes them to a descriptor, which may be full, slow, or closed.

    What finds no room, or cannot be written, is dropped and counted, and said as soon as writing works again. The queue
    takes lines in signal handlers too.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._metric = TELEMETRY_DROPPED.labels("logs")
        self._begin()
        # The thread is not there in a child, and what waits is the parent's to write.
        os.register_at_fork(after_in_child=self._begin)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record; never waits, never raises."""
        if self._lines.qsize() >= ROOM:
            self._crowded_out += 1
            self._metric.inc()
            return
        self._lines.put(self._line(record))
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Waits until what was taken is written, at most a second."""
        if self._thread is not None and self._thread is not threading.current_thread():
            written = threading.Event()
            self._lines.put(written)
            written.wait(FLUSH_SECONDS)

    def _begin(self) -> None:
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._crowded_out = self._failed = self._told = 0
        self._is_torn = False

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="logs", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # There is no room for a thread now; the next line tries again, and this one waits.
        self._thread = thread

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001 whatever a record holds, a line comes of it
            return self._own("line_not_written", "error", record.name, error=type(error).__name__)

    def _own(self, event: str, level: str, name: str, **fields: object) -> str:
        record = logging.LogRecord(name, logging.getLevelName(level.upper()), __file__, 0, event, (), None)
        setattr(record, FIELDS, fields)
        return self.format(record)

    def _run(self) -> None:
        lines = self._lines
        while True:
            line = lines.get()
            if isinstance(line, threading.Event):
                line.set()
            elif self._write(line):
                self._tell()
            else:
                self._failed += 1
                self._metric.inc()

    def _tell(self) -> None:
        """Says how much was dropped since it was said."""
        dropped = self._crowded_out + self._failed
        if dropped > self._told and self._write(self._own(DROPPED, "warning", __name__, lines=dropped - self._told)):
            self._told = dropped

    def _write(self, line: str) -> bool:
        """Whether the whole line was written; what a full disk took of one before is ended first."""
        left = memoryview(f"{chr(10) if self._is_torn else ''}{line}\n".encode())
        size = len(left)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                self._wait()
            except OSError:
                self._is_torn = self._is_torn or len(left) < size
                return False
        self._is_torn = False
        return True

    def _wait(self) -> None:
        """Returns when the descriptor takes something: whoever shares it has said that nobody is to be kept waiting."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()
