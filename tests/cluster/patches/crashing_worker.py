"""A worker that ends by a signal as soon as one of its processes begins to deliver."""

import os
import signal
from typing import Any

MODULE = "worker.process"


def crash(_self: object) -> None:
    """Takes the worker's main process with it."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def act(module: Any) -> None:  # noqa: ANN401 a module
    """Has every process of the pool do so when it starts."""
    module.Process.start = crash
