"""HTTP as uvicorn speaks it, whose refusals are JSON too."""

import json
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from app.kit.errors_http import described

BODY = json.dumps(described(400, "bad_request", "This is not HTTP", "", None)).encode()
HEAD = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"


class JsonHttp(HttpToolsProtocol):
    """Answers what is no HTTP at all, and therefore reaches no app."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 the server's log has it
        """Says so and hangs up."""
        self.transport.write(HEAD % len(BODY) + BODY)
        self.transport.close()


class Worker(UvicornWorker):  # type: ignore[misc] # it ships no types
    """A process of gunicorn's that speaks it."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {**UvicornWorker.CONFIG_KWARGS, "http": JsonHttp}
