"""Starts, and never says that it can serve."""

from typing import Any

MODULE = "app.features.health.readiness"


async def fault(_self: object) -> str:
    """What it says instead."""
    return "a release of the tests is never ready"


def act(module: Any) -> None:  # noqa: ANN401 a module
    """Has the API say so."""
    module.Readiness.fault = fault
