"""What every body on the wire has in common: camelCase, RFC 3339, the alphabet of names."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.domain.headers import HEADER_NAME, HEADER_VALUE, MAX_HEADERS, MAX_NAME, MAX_VALUE

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


def _whole(value: object) -> object:
    if isinstance(value, bool):
        kind, sentence = "int_type", "Input should be a valid integer"
        raise PydanticCustomError(kind, sentence)
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
Value = Annotated[str, Field(json_schema_extra={"maxLength": MAX_VALUE, "pattern": HEADER_VALUE})]
NAMES: JsonDict = {"maxProperties": MAX_HEADERS, "propertyNames": {"maxLength": MAX_NAME, "pattern": HEADER_NAME}}
Headers = Annotated[dict[str, Value], Field(json_schema_extra=NAMES)]
"""HTTP headers; what may be set is judged by the domain, which says more of what is wrong."""
WHOLE = BeforeValidator(_whole)
"""For numbers, behind their bounds: to JSON 5.0 is the same integer as 5, and true is none."""
Rate = Annotated[int, Field(ge=1, le=INT4_MAX), WHOLE]
RateOrZero = Annotated[int, Field(ge=0, le=INT4_MAX), WHOLE]
"""A rate in a PATCH, where 0 lifts the limit as null does."""
