"""How errors and operations are described in the OpenAPI document."""

from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.kit.errors_http import TITLES

PROBLEMS = (401, 403, 404, 409, 429)
BODY_PROBLEMS = (413, 415)
SERVER_PROBLEMS = (500, 503)


class HttpErrorOut(BaseModel):
    """What went wrong: a code for programs, a sentence for people, and the members of RFC 9457."""

    code: str
    detail: str
    type: str
    title: str
    status: int
    instance: str
    requestId: str | None  # noqa: N815 the wire's spelling


class ValidationErrorItem(BaseModel):
    """One field that is wrong."""

    loc: list[str]
    msg: str
    type: str


class HTTPValidationError(BaseModel):
    """Which fields are wrong, and how."""

    code: str
    detail: list[ValidationErrorItem]
    type: str
    title: str
    status: int
    instance: str
    requestId: str | None  # noqa: N815 the wire's spelling


def _described(status: int, model: type[BaseModel] = HttpErrorOut) -> dict[str, Any]:
    return {"model": model, "description": TITLES[status]}


ERRORS: dict[int | str, dict[str, Any]] = {
    **{status: _described(status) for status in (400, *PROBLEMS, *BODY_PROBLEMS, *SERVER_PROBLEMS)},
    422: _described(422, HTTPValidationError),
}
"""What every operation of the API may answer beside its success."""


def operation_id(route: APIRoute) -> str:
    """`v1.<tag>.<name of the function>`."""
    return ".".join(["v1", *(_word(str(tag)) for tag in route.tags[:1]), _word(route.name)])


def _word(text: str) -> str:
    return text.strip("_").lower().replace(" ", "-").replace("_", "-")
