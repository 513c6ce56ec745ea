"""Wants a setting that the values of the environment do not have."""

from typing import Any

MODULE = "app.settings"


def act(module: Any) -> None:  # noqa: ANN401 a module
    """Adds it to the settings."""

    class Settings(module.Settings):  # type: ignore[misc] # known where it runs
        residency: str

    module.Settings = Settings
