"""Values of query parameters: what cannot be read is told apart from what cannot be."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.kit.errors import invalid, not_found
from app.kit.openapi import needed
from app.kit.wire import NAME_PATTERN, RFC_3339, Name, is_name

FIRST = datetime(1970, 1, 2, tzinfo=UTC)
LAST = datetime(9999, 1, 1, tzinfo=UTC)


async def only_known(request: Request) -> None:
    """A dependency: Problem `invalid` for query parameters that the operation does not have."""
    known = {one.alias for each in needed(request.scope["route"].dependant) for one in each.query_params}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        raise invalid(unknown[0], "is no parameter of this operation", where="query", type_="extra_forbidden")


def _possible(text: str) -> str:
    # What cannot be a name names nothing, and must not come near the database.
    if not is_name(text):
        raise not_found()
    return text


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    # A plus sign that was not escaped arrives as a blank.
    text = value[:10] + value[10:].replace(" ", "+") if isinstance(value, str) else ""
    try:
        return _within(datetime.fromisoformat(text.upper())) if RFC_3339.fullmatch(text) else _unreadable()
    except ValueError:
        return _unreadable()


def _within(value: datetime) -> datetime:
    # Nothing is older than the first moment or younger than the last, and ids cannot tell of such times.
    if value.year <= FIRST.year:
        return FIRST
    return min(value.astimezone(UTC), LAST) if value.year < LAST.year else LAST


def _unreadable() -> datetime:
    kind, sentence = "datetime_parsing", "must be a date and time with its zone, as in RFC 3339"
    raise PydanticCustomError(kind, sentence)


def _split(value: object) -> object:
    if value is None:
        return None
    parts = value if isinstance(value, list) else [value]
    return [name for part in parts if isinstance(part, str) for name in part.split(",") if name]


NAMED: JsonDict = {"minLength": 1, "maxLength": 256, "pattern": NAME_PATTERN}
Reference = Annotated[str, AfterValidator(_possible), Field(json_schema_extra=NAMED)]
"""An id or a name in a path; 404 for what can be neither."""
Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A moment as RFC 3339 text."""
Names = Annotated[list[Name] | None, BeforeValidator(_split), Query(description="Names, joined by commas")]
"""Names joined by commas, or repeated."""
Label = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=128)]
"""A word that somebody chose."""
