"""Operational webhook endpoints on the wire."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field
from pydantic.config import JsonDict

from app.domain.addresses import MAX_URL
from app.domain.ids import encode
from app.features.endpoints.operations import Changes, ShownHeaders, only
from app.kit.conditional import etag
from app.kit.wire import WHOLE, Headers, In, Metadata, Name, Names, Out, OwnIn, Rate, RateOrZero
from app.models import Endpoint

DAY = 86400
OLDER: JsonDict = {"deprecated": True}
MAX_GRACE = 7 * DAY
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL, json_schema_extra={"format": "uri"})]
Secret = Annotated[str, Field(pattern=r"^(whsec_|whsk_)?[a-zA-Z0-9+/=]{32,100}$")]


class OperationalWebhookEndpointUpdate(In):
    """An operational endpoint as it is to be."""

    url: Url
    uid: Name | None = None
    description: str = ""
    disabled: bool = False
    event_types: Names | None = Field(None, description="Only these events; none or an empty list means all")
    filter_types: Names | None = Field(None, description="The older name of eventTypes", json_schema_extra=OLDER)
    metadata: Metadata = Field(default_factory=dict)
    throttle_rate: Rate | None = Field(None, description="Messages per second at most")
    rate_limit: Rate | None = Field(None, description="The older name of throttleRate", json_schema_extra=OLDER)

    @property
    def event_types_field(self) -> str:
        """The name under which the event types were given."""
        newer = "event_types" in self.model_fields_set or "filter_types" not in self.model_fields_set
        return "eventTypes" if newer else "filterTypes"

    def changes(self) -> Changes:
        """The columns of the endpoint."""
        newer = self.event_types_field == "eventTypes"
        rated = "throttle_rate" in self.model_fields_set
        return {
            "url": self.url,
            "uid": self.uid,
            "description": self.description,
            "disabled": self.disabled,
            "event_types": (self.event_types if newer else self.filter_types) or None,
            "metadata_": self.metadata,
            "throttle_rate": self.throttle_rate if rated else self.rate_limit,
        }


class OperationalWebhookEndpointIn(OperationalWebhookEndpointUpdate):
    """A new operational endpoint. Leave the secret out to have one generated."""

    secret: Secret | None = Field(None, repr=False)
    headers: Headers | None = Field(None, description="Sent along with every delivery", repr=False)


class OperationalWebhookEndpointPatch(OwnIn):
    """Changes to an operational endpoint, which the contract has no PATCH for: what is left out stays, null clears."""

    url: Url = ""
    uid: Name | None = None
    description: str = ""
    disabled: bool = False
    event_types: Names | None = None
    metadata: Metadata = Field(default_factory=dict)
    throttle_rate: RateOrZero | None = None

    @property
    def event_types_field(self) -> str:
        """The name under which the event types were given."""
        return "eventTypes"

    def changes(self) -> Changes:
        """The columns that are given."""
        every: Changes = {
            "url": self.url,
            "uid": self.uid,
            "description": self.description,
            "disabled": self.disabled,
            "event_types": self.event_types or None,
            "metadata_": self.metadata,
            "throttle_rate": self.throttle_rate or None,
        }
        return only(every, self.model_fields_set)


def tag(endpoint: Endpoint) -> str:
    """The entity tag of an endpoint, its secrets and its headers."""
    return etag(endpoint.revision, endpoint.created_at)


class OperationalWebhookEndpointOut(Out):
    """An endpoint that is told of Postrider's own events."""

    id: str
    uid: str | None
    url: str
    description: str
    disabled: bool
    event_types: list[str] | None
    filter_types: list[str] | None
    metadata: dict[str, str]
    throttle_rate: int | None
    rate_limit: int | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """The wire's view of a row."""
        return cls(
            id=encode("ep", endpoint.id),
            uid=endpoint.uid,
            url=endpoint.url,
            description=endpoint.description,
            disabled=endpoint.disabled,
            event_types=endpoint.event_types,
            filter_types=endpoint.event_types,
            metadata=endpoint.metadata_,
            throttle_rate=endpoint.throttle_rate,
            rate_limit=endpoint.throttle_rate,
            created_at=endpoint.created_at,
            updated_at=endpoint.updated_at,
        )


class OperationalWebhookEndpointSecretOut(Out):
    """What a receiver verifies with: the secret, or the public half of an ed25519 key (whpk_)."""

    key: str


class OperationalWebhookEndpointSecretIn(In):
    """Without a key one of the same kind is generated. The old secret is good for the grace period."""

    key: Secret | None = Field(None, repr=False)
    grace_period_seconds: Annotated[int, Field(ge=0, le=MAX_GRACE), WHOLE] | None = Field(
        None, description="By default 86400, a day"
    )

    @property
    def grace_seconds(self) -> int:
        """The grace period that was asked for, or a day."""
        return DAY if self.grace_period_seconds is None else self.grace_period_seconds


class OperationalWebhookEndpointHeadersIn(In):
    """The custom headers as they are to be."""

    headers: Headers = Field(repr=False)


class OperationalWebhookEndpointHeadersOut(Out):
    """The custom headers; of those in `sensitive` the value is never shown."""

    headers: dict[str, str]
    sensitive: list[str]

    @classmethod
    def of(cls, shown: ShownHeaders) -> Self:
        """The wire's view of headers."""
        return cls(headers=shown.headers, sensitive=shown.sensitive)
