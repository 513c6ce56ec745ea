"""What every body on the wire has in common: camelCase, RFC 3339, the alphabet of names."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

NAME_PATTERN = r"^[a-zA-Z0-9\-_.]+$"
NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,256}")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
INT4_MAX = 2**31 - 1


class In(BaseModel):
    """A request body of the contract: types are not guessed, unknown fields are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="ignore")


class OwnIn(In):
    """A request body of Postrider's own routes: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """A response body, made by field names and written by aliases."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True)


def is_name(text: str) -> bool:
    """Whether `text` could be a uid, an event id or an event type."""
    return NAME.fullmatch(text) is not None


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        msg = "must be a date and time with its zone, as in RFC 3339"
        raise ValueError(msg)
    return datetime.fromisoformat(value.upper())


def whole(value: object) -> object:
    """The integer for a number without a fraction: to JSON 5.0 is the same as 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        msg = "lies outside of the calendar"
        raise ValueError(msg) from None


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        msg = "items must be unique"
        raise ValueError(msg)
    return values


Name = Annotated[str, Field(pattern=NAME_PATTERN, min_length=1, max_length=256)]
"""A uid, an event id, an event type, a feature flag."""
Names = Annotated[list[Name], AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})]
Instant = Annotated[datetime, BeforeValidator(_instant), AfterValidator(_utc)]
"""A moment in a request, in UTC."""
Metadata = dict[str, str]
Whole = Annotated[int, BeforeValidator(whole)]
"""A whole number, with or without a fraction of zero."""
Rate = Annotated[Whole, Field(ge=1, le=INT4_MAX)]
RateOrZero = Annotated[Whole, Field(ge=0, le=INT4_MAX)]
"""A rate in a PATCH, where 0 lifts the limit as null does."""
