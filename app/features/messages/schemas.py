"""Messages on the wire."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

DAYS = 90
HOURS = DAYS * 24


def distinct(values: list[str]) -> list[str]:
    """The list itself; a repeated entry is refused."""
    if len(set(values)) != len(values):
        kind, sentence = "unique_items", "List should have unique items"
        raise PydanticCustomError(kind, sentence)
    return values


Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9\-_.]+$", max_length=256)]
Channel = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9\-_.:]+$", max_length=128)]
Tag = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=128)]
Channels = Annotated[list[Channel], Field(min_length=1, max_length=5), AfterValidator(distinct)]
Tags = Annotated[list[Tag], Field(max_length=10), AfterValidator(distinct)]
ContentType = Annotated[str, StringConstraints(pattern=r"^[!-~]+( [!-~]+)*$", max_length=256)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]


class Wire(BaseModel):
    """camelCase on the wire; unknown fields are ignored, as the SDKs expect."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class NewApplication(Wire):
    """The application to make, when the path names none that exists."""

    name: Annotated[Text, Field(min_length=1)]
    uid: Name | None = None
    throttle_rate: int | None = Field(
        default=None, ge=1, le=2**31 - 1, validation_alias=AliasChoices("throttleRate", "rateLimit", "throttle_rate")
    )
    metadata: dict[Text, Text] = Field(default_factory=dict)


class RawHeaders(Wire):
    """Headers that go with a raw payload."""

    content_type: ContentType | None = Field(default=None, alias="content-type")


class TransformationsParams(Wire):
    """`rawPayload` is sent byte for byte in place of the payload."""

    raw_payload: str | None = None
    headers: RawHeaders | None = None


class MessageIn(Wire):
    """A message without its payload, whose bytes are kept as they came. Retention is in days or in hours."""

    event_type: Name
    event_id: Name | None = None
    channels: Channels | None = None
    tags: Tags | None = None
    deliver_at: AwareDatetime | None = None
    payload_retention_period: int | None = Field(default=None, ge=5, le=DAYS)
    payload_retention_hours: int | None = Field(default=None, ge=1, le=HOURS)
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


class MessageOut(Wire):
    """A message; `payload` is `{}` without content and `{"expired": true}` once it is gone."""

    id: str
    event_type: str
    event_id: str | None = None
    channels: list[str] | None = None
    tags: list[str] | None = None
    deliver_at: datetime | None = None
    timestamp: datetime
    payload: dict[str, Any] = Field(default_factory=dict)


class MessageList(Wire):
    """A page of messages."""

    data: list[MessageOut]
    iterator: str | None
    prev_iterator: str | None
    done: bool
