"""Applications on the wire."""

from datetime import datetime

from pydantic import AliasChoices, Field, field_validator

from app.domain.ids import encode
from app.kit.wire import In, Metadata, Name, Out, Rate, RateOrZero
from app.models import Application

RATE_NAMES = AliasChoices("throttleRate", "rateLimit")


class ApplicationIn(In):
    """A new application, or all of an existing one."""

    name: str = Field(min_length=1)
    uid: Name | None = None
    throttle_rate: Rate | None = Field(None, validation_alias=RATE_NAMES, description="Deliveries a second")
    metadata: Metadata = Field(default_factory=dict)


class ApplicationPatch(In):
    """What is to change; null clears."""

    name: str = Field("", min_length=1)
    uid: Name | None = None
    throttle_rate: RateOrZero | None = Field(None, validation_alias=RATE_NAMES)
    metadata: Metadata = Field(default_factory=dict)

    @field_validator("throttle_rate")
    @classmethod
    def _no_limit(cls, value: int | None) -> int | None:
        return value or None


class ApplicationOut(Out):
    """An application; its rate under both names."""

    id: str
    uid: str | None
    name: str
    throttle_rate: int | None
    rate_limit: int | None
    metadata: Metadata
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, application: Application) -> "ApplicationOut":
        """The row as it is shown."""
        return cls(
            id=encode("app", application.id),
            uid=application.uid,
            name=application.name,
            throttle_rate=application.throttle_rate,
            rate_limit=application.throttle_rate,
            metadata=application.metadata_,
            created_at=application.created_at,
            updated_at=application.updated_at,
        )
