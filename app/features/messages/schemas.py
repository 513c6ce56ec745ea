"""Messages on the wire."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from app.kit.wire import WHOLE, In, Instant, Name, Out, Rate

DAYS = 90
HOURS = DAYS * 24


def distinct(values: list[str]) -> list[str]:
    """The list itself; a repeated entry is refused."""
    if len(set(values)) != len(values):
        kind, sentence = "unique_items", "List should have unique items"
        raise PydanticCustomError(kind, sentence)
    return values


Channel = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9\-_.:]+$", max_length=128)]
Tag = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=128)]
Unique = Field(json_schema_extra={"uniqueItems": True})
Channels = Annotated[list[Channel], Field(max_length=5), AfterValidator(distinct), Unique]
Tags = Annotated[list[Tag], Field(max_length=10), AfterValidator(distinct), Unique]
ContentType = Annotated[str, StringConstraints(pattern=r"^[!-~]+( [!-~]+)*$", max_length=256)]
RATE_NAMES = AliasChoices("throttleRate", "rateLimit")
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]


class NewApplication(In):
    """The application to make, when the path names none that exists."""

    name: Annotated[Text, Field(min_length=1)]
    uid: Name | None = None
    throttle_rate: Rate | None = Field(default=None, validation_alias=AliasChoices("throttleRate", "rateLimit"))
    metadata: dict[Text, Text] = Field(default_factory=dict)


class RawHeaders(In):
    """Headers that go with a raw payload."""

    content_type: ContentType | None = Field(default=None, alias="content-type")


class TransformationsParams(In):
    """`rawPayload` is sent byte for byte in place of the payload."""

    raw_payload: str | None = None
    headers: RawHeaders | None = None


class MessageIn(In):
    """A message without its payload, whose bytes are kept as they came. Retention is in days or in hours."""

    event_type: Name
    event_id: Name | None = None
    channels: Channels | None = None
    tags: Tags | None = None
    deliver_at: Instant | None = None
    payload_retention_period: Annotated[int, Field(ge=5, le=DAYS), WHOLE] | None = None
    payload_retention_hours: Annotated[int, Field(ge=1, le=HOURS), WHOLE] | None = None
    transformations_params: TransformationsParams | None = None
    application: NewApplication | None = None

    @field_validator("channels", "tags", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:  # noqa: ANN401 not validated yet
        return None if value == [] else value

    @model_validator(mode="after")
    def _one_retention(self) -> Self:
        if self.payload_retention_period is not None and self.payload_retention_hours is not None:
            kind, sentence = "exclusive", "give payloadRetentionPeriod or payloadRetentionHours, not both"
            raise PydanticCustomError(kind, sentence)
        return self

    @property
    def retention_hours(self) -> int:
        """How long the payload is to be kept, in hours."""
        return self.payload_retention_hours or (self.payload_retention_period or DAYS) * 24


NOT_BOTH: JsonDict = {
    "properties": {name: {"type": "integer"} for name in ("payloadRetentionPeriod", "payloadRetentionHours")},
    "required": ["payloadRetentionPeriod", "payloadRetentionHours"],
}


class MessageBody(MessageIn):
    """A message as it is posted. `data` is the older name of `payload`."""

    model_config = ConfigDict(json_schema_extra={"not": NOT_BOTH})

    payload: dict[str, Any] = Field(description="At most 1 MiB of JSON; its bytes are kept as they are")


class MessageOut(Out):
    """A message; `payload` is `{}` without content and `{"expired": true}` once it is gone."""

    id: str
    event_type: str
    event_id: str | None = None
    channels: list[str] | None = None
    tags: list[str] | None = None
    deliver_at: datetime | None = None
    timestamp: datetime
    payload: dict[str, Any] = Field(default_factory=dict)
