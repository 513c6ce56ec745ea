"""Applications on the wire."""

from datetime import datetime

from pydantic import AliasChoices, Field, field_validator

from app.domain.ids import encode
from app.domain.lifecycle import restorable_until
from app.kit.conditional import etag
from app.kit.wire import In, Metadata, Name, Out, OwnIn, Rate, RateOrZero
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


class ApplicationRestoreIn(OwnIn):
    """How to bring back an application; without `uid` under the one that it had."""

    uid: Name | None = Field(None, description="A new uid, or null for none")


def tag(application: Application) -> str:
    """The entity tag of an application."""
    return etag(application.version, application.created_at)


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


class DeletedApplicationOut(ApplicationOut):
    """A deleted application, and until when it can be restored."""

    deleted_at: datetime
    restorable_until: datetime

    @classmethod
    def of(cls, application: Application) -> "DeletedApplicationOut":
        """The row as it is shown."""
        assert application.deleted_at is not None
        shown = ApplicationOut.of(application).model_dump(by_alias=False)
        until = restorable_until(application.deleted_at)
        return cls(**shown, deleted_at=application.deleted_at, restorable_until=until)
