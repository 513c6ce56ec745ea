"""Another image that is as good as the one before."""

from typing import Any

MODULE = "app"


def act(module: Any) -> None:  # noqa: ANN401 a module
    """Nobody sees a difference but whoever asks for the version."""
    module.VERSION = f"{module.VERSION}+good"
