"""Endpoints on the wire. Two fields have an older spelling, which is taken and given as well."""

from datetime import datetime
from typing import Annotated, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import AfterValidator, Field
from pydantic.config import JsonDict

from app.domain.addresses import MAX_URL
from app.domain.ids import encode
from app.domain.lifecycle import restorable_until
from app.domain.retry import MAX_DELAY, MAX_TRIES
from app.domain.signing import Style
from app.features.endpoints.operations import Changes, ShownHeaders, only
from app.kit.conditional import etag
from app.kit.query import Moment
from app.kit.wire import INT4_MAX, WHOLE, Headers, In, Metadata, Name, Names, Out, OwnIn, Rate, RateOrZero
from app.models import Endpoint

OLDER: JsonDict = {"deprecated": True}
MAX_GRACE = 7 * 86400
DAY = 86400
MAX_PEM = 65536
SIGNING_KEY = r"^(whsec_|whsk_)?[a-zA-Z0-9+/=]{32,100}$"


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        msg = "items must be unique"
        raise ValueError(msg)
    return values


Channel = Annotated[str, Field(pattern=r"^[a-zA-Z0-9\-_.:]+$", min_length=1, max_length=128)]
Channels = Annotated[
    list[Channel], AfterValidator(_unique), Field(max_length=10, json_schema_extra={"uniqueItems": True})
]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL, json_schema_extra={"format": "uri"})]
Secret = Annotated[str, Field(pattern=SIGNING_KEY)]
Delay = Annotated[int, Field(ge=0, le=MAX_DELAY), WHOLE]
Schedule = Annotated[
    list[Delay],
    Field(min_length=1, max_length=MAX_TRIES, description="Seconds before each try, the first included"),
]
Version = Annotated[int, Field(ge=1, le=INT4_MAX), WHOLE]
Index = Annotated[int, Field(ge=0, le=INT4_MAX), WHOLE]
Grace = Annotated[int, Field(ge=0, le=MAX_GRACE), WHOLE]


def _certificates(text: str) -> str:
    """The certificates alone: what else stands in the text, a private key perhaps, is not kept."""
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        msg = "must be one or more certificates in PEM"
        raise ValueError(msg) from None
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in found)


Pem = Annotated[
    str,
    Field(
        max_length=MAX_PEM,
        description="Trusted in place of the public CAs",
        json_schema_extra={"pattern": "-----BEGIN CERTIFICATE-----"},
    ),
    AfterValidator(_certificates),
]


class _Subscription(In):
    """What every request about an endpoint has in common. Which spelling was used is kept for the errors."""

    event_types: Names | None = Field(None, description="Only these event types; none or an empty list means all")
    filter_types: Names | None = Field(None, description="The older name of eventTypes", json_schema_extra=OLDER)
    channels: Channels | None = Field(None, description="Only messages on one of these channels; none means all")
    retry_schedule: Schedule | None = None
    header_style: Style | None = Field(None, description="The names of the signature headers: webhook-* or svix-*")
    ca_pem: Pem | None = None

    @property
    def event_types_field(self) -> str:
        """The name under which the event types were given."""
        newer = "event_types" in self.model_fields_set or "filter_types" not in self.model_fields_set
        return "eventTypes" if newer else "filterTypes"

    def changes(self) -> Changes:
        """The columns that the request sets."""
        every: Changes = {
            "channels": self.channels or None,
            "retry_schedule": self.retry_schedule,
            "header_style": self.header_style or "webhook",
            "ca_pem": self.ca_pem,
        }
        changes = only(every, self.model_fields_set)
        if self.model_fields_set & {"event_types", "filter_types"}:
            newer = self.event_types_field == "eventTypes"
            changes["event_types"] = (self.event_types if newer else self.filter_types) or None
        return changes


class EndpointUpdate(_Subscription):
    """An endpoint as it is to be; of Postrider's own fields (retrySchedule, headerStyle, caPem) those left out stay."""

    url: Url
    uid: Name | None = None
    description: str = ""
    version: Version | None = Field(None, json_schema_extra=OLDER)
    disabled: bool = False
    metadata: Metadata = Field(default_factory=dict)
    throttle_rate: Rate | None = Field(None, description="Messages per second at most")
    rate_limit: Rate | None = Field(None, description="The older name of throttleRate", json_schema_extra=OLDER)

    def changes(self) -> Changes:
        """Every column of the contract, and those of Postrider's own that are given."""
        newer = "throttle_rate" in self.model_fields_set
        changes: Changes = {
            "url": self.url,
            "uid": self.uid,
            "description": self.description,
            "disabled": self.disabled,
            "event_types": None,
            "channels": None,
            "metadata_": self.metadata,
            "throttle_rate": self.throttle_rate if newer else self.rate_limit,
            **super().changes(),
        }
        if self.version is not None:
            changes["version"] = self.version
        return changes


class EndpointIn(EndpointUpdate):
    """A new endpoint. Leave the secret out to have one generated."""

    secret: Secret | None = Field(
        None, description="whsec_ and base64 of 24 to 64 bytes, or whsk_ and base64 of an ed25519 key", repr=False
    )
    headers: Headers | None = Field(None, description="Sent along with every delivery", repr=False)


class EndpointPatch(_Subscription):
    """Changes to an endpoint: what is left out stays, null clears."""

    url: Url = ""
    uid: Name | None = None
    description: str = ""
    version: Version = Field(1, json_schema_extra=OLDER)
    disabled: bool = False
    metadata: Metadata = Field(default_factory=dict)
    throttle_rate: RateOrZero | None = Field(None, description="Messages per second at most; null or 0 for no limit")
    rate_limit: RateOrZero | None = Field(None, description="The older name of throttleRate", json_schema_extra=OLDER)

    def changes(self) -> Changes:
        """The columns that are given."""
        given = self.model_fields_set
        every: Changes = {
            "url": self.url,
            "uid": self.uid,
            "description": self.description,
            "version": self.version,
            "disabled": self.disabled,
            "metadata_": self.metadata,
        }
        changes = super().changes() | only(every, given)
        if given & {"throttle_rate", "rate_limit"}:
            newer = "throttle_rate" in given
            changes["throttle_rate"] = (self.throttle_rate if newer else self.rate_limit) or None
        return changes


def tag(endpoint: Endpoint) -> str:
    """The entity tag of an endpoint, its secrets and its headers."""
    return etag(endpoint.revision, endpoint.created_at)


class EndpointOut(Out):
    """An endpoint."""

    id: str
    uid: str | None
    url: str
    description: str
    version: int
    disabled: bool
    event_types: list[str] | None
    filter_types: list[str] | None
    channels: list[str] | None
    metadata: dict[str, str]
    throttle_rate: int | None
    rate_limit: int | None
    retry_schedule: list[int] | None
    header_style: Style
    ca_pem: str | None
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
            version=endpoint.version,
            disabled=endpoint.disabled,
            event_types=endpoint.event_types,
            filter_types=endpoint.event_types,
            channels=endpoint.channels,
            metadata=endpoint.metadata_,
            throttle_rate=endpoint.throttle_rate,
            rate_limit=endpoint.throttle_rate,
            retry_schedule=endpoint.retry_schedule,
            header_style="svix" if endpoint.header_style == "svix" else "webhook",
            ca_pem=endpoint.ca_pem,
            created_at=endpoint.created_at,
            updated_at=endpoint.updated_at,
        )


class EndpointRestoreIn(OwnIn):
    """How to bring back an endpoint; without `uid` under the one that it had."""

    uid: Name | None = Field(None, description="A new uid, or null for none")


class DeletedEndpointOut(EndpointOut):
    """A deleted endpoint, and until when it can be restored."""

    deleted_at: datetime
    restorable_until: datetime

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """The row as it is shown."""
        assert endpoint.deleted_at is not None
        shown = EndpointOut.of(endpoint).model_dump(by_alias=False)
        until = restorable_until(endpoint.deleted_at)
        return cls(**shown, deleted_at=endpoint.deleted_at, restorable_until=until)


class EndpointSecretOut(Out):
    """What a receiver verifies with: the secret, or the public half of an ed25519 key (whpk_)."""

    key: str


class EndpointSecretRotateIn(In):
    """Without a key one of the same kind is generated. The old secret is good for the grace period."""

    key: Secret | None = Field(None, repr=False)
    grace_period_seconds: Grace | None = Field(None, description="By default 86400, a day")

    @property
    def grace_seconds(self) -> int:
        """The grace period that was asked for, or a day."""
        return DAY if self.grace_period_seconds is None else self.grace_period_seconds


class EndpointHeadersIn(In):
    """The custom headers as they are to be."""

    headers: Headers = Field(repr=False)


class EndpointHeadersPatchIn(In):
    """Custom headers to set; those that are null or named in `deleteHeaders` are removed."""

    headers: dict[str, str | None] = Field(default_factory=dict, repr=False)
    delete_headers: list[str] | None = None


class EndpointHeadersOut(Out):
    """The custom headers; of those in `sensitive` the value is never shown."""

    headers: dict[str, str]
    sensitive: list[str]

    @classmethod
    def of(cls, shown: ShownHeaders) -> Self:
        """The wire's view of headers."""
        return cls(headers=shown.headers, sensitive=shown.sensitive)


class EndpointStats(Out):
    """How many deliveries are in which state."""

    success: int
    pending: int
    sending: int
    fail: int
    canceled: int


class EndpointStatsRange(In):
    """Which messages are counted, by when they were accepted, ends included: at most 28 days, else the last 28."""

    since: Moment | None = None
    until: Moment | None = None


class EventExampleIn(In):
    """Which event type's example to send: the one at `exampleIndex`, or a payload of one's own."""

    event_type: Name
    example_index: Index | None = None
    payload: dict[str, Any] | None = None


class ExampleOut(Out):
    """The message that carries the example."""

    id: str
    event_type: str
    event_id: None = None
    channels: None = None
    tags: None = None
    payload: dict[str, Any]
    timestamp: datetime
