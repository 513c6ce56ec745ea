"""Event types on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from app.domain.retry import MAX_DELAY, MAX_TRIES
from app.kit.conditional import etag
from app.kit.wire import WHOLE, In, Name, Names, Out
from app.models import EventType

Schemas = dict[str, dict[str, Any]]
Seconds = Annotated[int, Field(ge=0, le=MAX_DELAY), WHOLE]


RetrySchedule = Annotated[list[Seconds], Field(min_length=1, max_length=MAX_TRIES)]
"""Seconds before each try, the first included."""


class EventTypePatch(In):
    """What is to change; null clears."""

    OLD_FLAG: ClassVar[str] = "feature_flag"

    description: str = Field(default_factory=str)
    archived: bool = False
    deprecated: bool = False
    group_name: Name | None = None
    feature_flag: Name | None = Field(None, description="The only feature flag; `featureFlags` wins over it")
    feature_flags: Names | None = None
    schemas: Schemas | None = Field(None, description="JSON schemas by version")
    retry_schedule: RetrySchedule | None = Field(None, description="Seconds before each try, the first included")

    def columns(self, names: set[str] | None = None) -> dict[str, Any]:
        """The fields of these names, all of them by default, as columns of the row."""
        values = self.model_dump(include=names)
        one = values.pop(self.OLD_FLAG, None)
        if names is None or self.OLD_FLAG in names:
            values["feature_flags"] = values.get("feature_flags") or ([one] if one else None)
        if "feature_flags" in values:
            values["feature_flags"] = values["feature_flags"] or None
        return values


class EventTypeUpdate(EventTypePatch):
    """All of an event type, but its name."""

    description: str


class EventTypeIn(EventTypeUpdate):
    """A new event type."""

    name: Name


def tag(row: EventType) -> str:
    """The entity tag of an event type."""
    return etag(row.version, row.created_at)


class EventTypeOut(Out):
    """An event type; its feature flags in both spellings."""

    name: str
    description: str
    archived: bool
    deprecated: bool
    group_name: str | None
    feature_flag: str | None
    feature_flags: list[str] | None
    schemas: Schemas | None
    retry_schedule: list[int] | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: EventType, *, with_content: bool = True) -> "EventTypeOut":
        """The row as it is shown, its schemas only with content."""
        return cls(
            name=row.name,
            description=row.description,
            archived=row.archived,
            deprecated=row.deprecated,
            group_name=row.group_name,
            feature_flag=row.feature_flags[0] if row.feature_flags else None,
            feature_flags=row.feature_flags,
            schemas=_copy(row.schemas) if with_content else None,
            retry_schedule=row.retry_schedule,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _copy(schemas: Mapping[str, Any] | None) -> Schemas | None:
    return None if schemas is None else dict(schemas)
