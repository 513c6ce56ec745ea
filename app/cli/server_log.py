"""How gunicorn logs: as everything else does."""

import logging
from typing import Any

from gunicorn.config import Config
from gunicorn.glogging import Logger as GunicornLogger

from app.kit.telemetry import logs
from app.settings import read_settings


class Logger(GunicornLogger):  # type: ignore[misc] # it ships no types
    """Hands on what gunicorn and uvicorn say of themselves; requests have lines of their own."""

    def setup(self, cfg: Config) -> None:
        """Begins to log, in the main process."""
        telemetry = read_settings().telemetry
        self.cfg = cfg
        self._access_log_enabled = False
        logs.install("api", telemetry.log_format, telemetry.log_level)
        self.error_log.setLevel(logging.INFO)
        self.error_log.propagate = True

    def access(self, *_: Any) -> None:  # noqa: ANN401 gunicorn's own arguments
        """Says nothing of a request."""
