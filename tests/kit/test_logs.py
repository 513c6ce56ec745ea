"""What a log line looks like."""

import contextvars
import json
import logging
import sys
from typing import Any

from app.kit.telemetry import logs
from app.kit.telemetry.about import About, begin
from app.kit.telemetry.lines import Json


def _line(**extra: Any) -> dict[str, Any]:  # noqa: ANN401 a record takes anything
    record = logging.LogRecord("app.some", logging.WARNING, "file.py", 1, "seen %s", ("it",), **extra)
    line: dict[str, Any] = json.loads(Json("api").format(record))
    return line


def _named() -> dict[str, Any]:
    begin(About(request_id="request-1"))
    return _line(exc_info=None)


def test_a_line_is_an_object_that_names_its_request() -> None:
    line = contextvars.copy_context().run(_named)
    assert (line["event"], line["level"], line["logger"]) == ("seen it", "warning", "app.some")
    assert line["request_id"] == "request-1"
    assert line["timestamp"].endswith("Z")
    assert "request_id" not in _line(exc_info=None)


def test_an_error_comes_with_its_trace_in_one_line() -> None:
    try:
        int("x")
    except ValueError:
        line = _line(exc_info=sys.exc_info())
    assert "ValueError: invalid literal" in line["exception"]


def test_handlers_of_others_stay() -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    assert before, "pytest has handlers of its own"
    logs.install("api")
    assert root.handlers == before
