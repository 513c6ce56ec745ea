"""The settings as commands read them. Every pod begins with commands that need no more, so nothing else is here."""

import click
from pydantic import ValidationError

from app.settings import Settings, read_settings


def settings_or_exit() -> Settings:
    """The settings; a usage error that names what is missing or wrong, never its value."""
    try:
        return read_settings()
    except ValidationError as error:
        problems = [_problem(one["loc"], one["msg"]) for one in error.errors(include_input=False, include_url=False)]
        raise click.UsageError("; ".join(problems)) from error


def _problem(place: tuple[int | str, ...], message: str) -> str:
    name = "POSTRIDER_" + "__".join(str(part) for part in place).upper() if place else "the settings"
    return f"{name}: {message[0].lower()}{message[1:]}"
