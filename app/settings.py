"""Everything an operator sets, read from the environment (prefix POSTRIDER_, nested by two underscores)."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    FilePath,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain import email
from app.domain.addresses import Allowance, Network, parse_allow_list, parse_networks
from app.domain.forwarded import ProxyHeaders
from app.domain.hosts import host_name, is_loopback
from app.domain.limits import IdentityKind, RouteClass
from app.kit.encryption import KeyRing
from app.kit.post import SmtpServer, envelope_sender
from app.kit.rate_limits.policy import Rate, parse_rate

NO_LANE = "none"
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")


class Environment(StrEnum):
    """Where this process runs; `production` refuses what only a developer wants."""

    development = "development"
    test = "test"
    production = "production"


class Database(BaseModel):
    """Three roles of one database: the API's, the workers' and the migrator's URL."""

    url: SecretStr
    worker_url: SecretStr | None = None
    migrator_url: SecretStr | None = None
    pool_size: PositiveInt = 8
    pooler: bool = Field(default=False, description="a pooler in transaction mode stands between")

    def worker(self) -> str:
        """The workers' URL; ValueError when it is not set."""
        return _required(self.worker_url, "POSTRIDER_DATABASE__WORKER_URL")

    def migrator(self) -> str:
        """The migrator's URL; ValueError when it is not set."""
        return _required(self.migrator_url, "POSTRIDER_DATABASE__MIGRATOR_URL")


class Redis(BaseModel):
    """The broker of wake-ups and the counters of rate limits; nothing that must last is kept there."""

    url: SecretStr


class Secrets(BaseModel):
    """The key ring that encrypts secrets at rest: key id -> base64 of 32 bytes."""

    keys: dict[str, SecretStr]
    active: str

    @model_validator(mode="after")
    def _active_is_a_key(self) -> Self:
        if self.active not in self.keys:
            msg = f"POSTRIDER_SECRETS__ACTIVE names {self.active!r}, which POSTRIDER_SECRETS__KEYS lacks"
            raise ValueError(msg)
        return self

    def ring(self) -> KeyRing:
        """The keys, ready for use; BadKeyRing names the one that cannot be."""
        return KeyRing.parse({name: key.get_secret_value() for name, key in self.keys.items()}, self.active)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Words with commas between them."""


def _none_if_empty(value: object) -> object:
    return value or None


MaybeSecret = Annotated[SecretStr | None, BeforeValidator(_none_if_empty)]
"""A secret that there may be: an empty one is none, as stores of secrets hand it on."""


class Http(BaseModel):
    """How the API is reached: through whom, under which names, from which pages. By default nothing is believed.

    A body has `body_seconds` to come whole.
    """

    trusted_proxies: Words = ()
    proxy_headers: ProxyHeaders = ProxyHeaders.x_forwarded
    allowed_hosts: Words = ()
    cors_origins: Words = ()
    require_https: bool | None = None
    body_seconds: PositiveFloat = 10.0

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if any(network.prefixlen == 0 for network in parse_networks(given)):
            msg = "POSTRIDER_HTTP__TRUSTED_PROXIES may not name everyone: give the networks of your proxies"
            raise ValueError(msg)
        return given

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for host in given:
            if host_name(host) != host.lower().strip("[]"):
                msg = f"POSTRIDER_HTTP__ALLOWED_HOSTS takes names such as hooks.example.com, without port: not {host!r}"
                raise ValueError(msg)
        return tuple(host.lower().strip("[]") for host in given)

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_whole(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for origin in given:
            if not ORIGIN.fullmatch(origin):
                msg = f"POSTRIDER_HTTP__CORS_ORIGINS takes origins such as https://app.example.com: not {origin!r}"
                raise ValueError(msg)
        return given

    def proxies(self) -> tuple[Network, ...]:
        """The networks of proxies that are believed."""
        return parse_networks(self.trusted_proxies)


class Egress(BaseModel):
    """How deliveries leave: what may be reached, from where, for how long.

    `probe` is one address and one port, `10.96.0.80:8080`, that only the probe's own organisation may call.
    """

    allow: Words = ()
    probe: str | None = None
    deny: Words = ()
    ports: tuple[int, ...] = (80, 443, 8080, 8443)
    https_only: bool = False
    timeout_seconds: PositiveFloat = 15.0
    nameservers: tuple[str, ...] = ()
    proxy: MaybeSecret = None
    source_address: str | None = None
    user_agent: str = "Postrider-Webhooks/0.1"

    def allowances(self) -> tuple[Allowance, ...]:
        """The allow list as networks with optional ports."""
        return parse_allow_list(self.allow)

    @field_validator("probe")
    @classmethod
    def _probe_is_one_place(cls, given: str | None) -> str | None:
        if given is not None:
            (found,) = parse_allow_list([given])
            if found.port is None or found.network.num_addresses != 1:
                msg = f"POSTRIDER_EGRESS__PROBE is one address with its port, such as 10.96.0.80:8080: not {given!r}"
                raise ValueError(msg)
        return given

    def probe_allowance(self) -> Allowance | None:
        """Where the probe's receiver stands, if there is one."""
        return None if self.probe is None else parse_allow_list([self.probe])[0]

    def denials(self) -> tuple[Network, ...]:
        """The operator's own deny list."""
        return parse_networks(self.deny)


def _split_lanes(value: object) -> object:
    if value == NO_LANE:
        return ()
    lanes = _split(value)
    if lanes == ():
        raise ValueError(f"name lanes, or say {NO_LANE!r} for a pool that delivers nothing")
    return lanes


Lanes = Annotated[tuple[Literal["first", "retry", "replay"], ...], NoDecode, BeforeValidator(_split_lanes)]
"""Lanes of deliveries with commas between them; `none` is none of them."""


class Delivery(BaseModel):
    """The bounds of sending, and of which `lanes` this pool of workers sends."""

    lanes: Lanes = ("first", "retry", "replay")
    lease_seconds: PositiveFloat = 30.0
    concurrency_per_endpoint: PositiveInt = 8
    in_flight: PositiveInt = 512
    sweep_seconds: PositiveFloat = Field(default=1.0, le=2.0)
    drain_seconds: PositiveFloat = 20.0


class Ingest(BaseModel):
    """The bounds of the group commit."""

    batch: PositiveInt = 128


def _rate(text: str) -> str:
    parse_rate(text)
    return text


RateText = Annotated[str, AfterValidator(_rate)]


class _Limits(BaseModel):
    """What is allowed to one identity of each kind that is named here: `6000/minute`; 0 or nothing is no limit."""

    def rates(self) -> dict[IdentityKind, Rate]:
        """The limits that there are."""
        found = {kind: parse_rate(getattr(self, kind, "")) for kind in IdentityKind}
        return {kind: rate for kind, rate in found.items() if rate is not None}


class ClassLimits(_Limits):
    """What is allowed to one credential, one organisation, one person by its access tokens, and one address."""

    key: RateText = ""
    organisation: RateText = ""
    user: RateText = ""
    ip: RateText = ""


class PageLimits(_Limits):
    """What is allowed to one person, one browser that is known, and one address on the pages for people."""

    user: RateText = ""
    device: RateText = ""
    ip: RateText = ""


class AddressLimits(_Limits):
    """What is allowed to one address, whose owner is not known yet."""

    ip: RateText = ""


class RateLimits(BaseModel):
    """Rate limits of each class of requests, and how long Redis may take to answer."""

    ingest: ClassLimits = ClassLimits()
    read: ClassLimits = ClassLimits(key="60000/minute", organisation="60000/minute")
    write: ClassLimits = ClassLimits(key="30000/minute", organisation="30000/minute")
    administration: ClassLimits = ClassLimits(key="1200/minute", organisation="1200/minute")
    page: PageLimits = PageLimits(user="600/minute", device="600/minute")
    sign_in: AddressLimits = AddressLimits(ip="100/15 minutes")
    patience_seconds: PositiveFloat = 0.2

    def rates(self) -> dict[RouteClass, dict[IdentityKind, Rate]]:
        """The limits of every class."""
        return {one: getattr(self, one).rates() for one in RouteClass}


class PeopleSettings(BaseModel):
    """How people are signed in: a session rests `idle_minutes` at most, and ends after `session_hours`.

    An identity provider has `provider_seconds` for each of its answers.
    A person has so many `sessions` at once; one more ends the oldest. From the risk `step_up_from` on a second step is
    asked for. `places` and `networks` are databases of addresses (`.mmdb`), if the operator has them.
    So many wrong tries over all accounts are allowed to one address, and to one browser that is known.
    """

    idle_minutes: PositiveInt = 60
    session_hours: PositiveInt = 24
    provider_seconds: PositiveFloat = 5.0
    sessions: PositiveInt = 20
    step_up_from: PositiveInt = 50
    places: FilePath | None = None
    networks: FilePath | None = None
    failures_per_address: RateText = "30/15 minutes"
    failures_per_device: RateText = "30/15 minutes"


class Mail(BaseModel):
    """How mail leaves: by a server (`smtp[s]://user:password@host:port`), or into a folder, for development.

    With neither it waits. `require_tls` refuses servers that offer no STARTTLS; in production that is the default.
    """

    url: MaybeSecret = None
    folder: Path | None = None
    sender: str = "Postrider <postrider@localhost>"
    require_tls: bool | None = None

    @field_validator("url")
    @classmethod
    def _url_is_a_server(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            SmtpServer.parse(url.get_secret_value(), tls_required=True)
        return url

    @field_validator("sender")
    @classmethod
    def _sender_is_an_address(cls, sender: str) -> str:
        if email.key(envelope_sender(sender)) is None or not sender.isprintable():
            msg = f"it is an address, or a name with one: Postrider <hooks@example.com>, not {sender!r}"
            raise ValueError(msg)
        return sender

    @model_validator(mode="after")
    def _there_is_one_way(self) -> Self:
        if self.url is not None and self.folder is not None:
            msg = "set either POSTRIDER_MAIL__URL or POSTRIDER_MAIL__FOLDER"
            raise ValueError(msg)
        return self


class OAuthSettings(BaseModel):
    """The authorization server: for how many seconds a refresh token that was just used is taken once more."""

    refresh_grace_seconds: int = Field(default=0, ge=0, le=10)


class Audit(BaseModel):
    """Where workers copy the audit log's seals to: a folder that exists, best on a disk of its own."""

    anchors: Path | None = None


class Telemetry(BaseModel):
    """What processes tell of themselves, and where.

    Metrics and probes are served on the first free one of `ports` ports from `port` on, by each process of a part for
    itself; without a port on none. Traces go where OTEL_EXPORTER_OTLP_ENDPOINT says, `sample` of them, and those of
    `sampled_callers` requests a second of each process whose callers record them; endpoints are told of theirs if
    `send_traceparent`. `sentry_sample` of the errors go to `sentry_dsn`, `revision` says what was
    built.
    `access_lines` lines are written a second of requests, and as many of attempts, in each process. A worker or beat
    of which a loop has stood still for `stands_still_seconds` says that it does not live.
    """

    host: str = "127.0.0.1"
    port: PositiveInt | None = None
    ports: PositiveInt = 16
    log_format: Literal["json", "console"] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    access_lines: NonNegativeInt = 50
    sample: float = Field(default=0.05, ge=0, le=1)
    sampled_callers: NonNegativeInt = 10
    send_traceparent: bool = False
    sentry_dsn: SecretStr | None = None
    sentry_sample: float = Field(default=1, ge=0, le=1)
    revision: str = "unknown"
    # A database that hangs may hold a loop for a while, which no new start mends.
    stands_still_seconds: float = Field(default=180, ge=10)

    def dsn(self) -> str | None:
        """Where errors are reported to; an empty one is none."""
        return self.sentry_dsn.get_secret_value() or None if self.sentry_dsn else None


class Settings(BaseSettings):
    """All settings. No secret has a default."""

    model_config = SettingsConfigDict(env_prefix="POSTRIDER_", env_nested_delimiter="__", extra="ignore")

    environment: Environment = Environment.production
    public_url: str = "http://localhost:8000"
    database: Database
    redis: Redis
    secrets: Secrets
    http: Http = Http()
    egress: Egress = Egress()
    delivery: Delivery = Delivery()
    ingest: Ingest = Ingest()
    limits: RateLimits = RateLimits()
    people: PeopleSettings = PeopleSettings()
    oauth: OAuthSettings = OAuthSettings()
    mail: Mail = Mail()
    telemetry: Telemetry = Telemetry()

    @field_validator("public_url")
    @classmethod
    def _public_url_is_whole(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not host_name(parts.netloc) or parts.query or parts.fragment:
            msg = f"POSTRIDER_PUBLIC_URL is a URL such as https://hooks.example.com: not {url!r}"
            raise ValueError(msg)
        return url

    @model_validator(mode="after")
    def _https_has_an_address(self) -> Self:
        if self.http.require_https and not self.public_url.startswith("https:"):
            msg = "POSTRIDER_HTTP__REQUIRE_HTTPS needs a POSTRIDER_PUBLIC_URL that begins with https:"
            raise ValueError(msg)
        return self

    audit: Audit = Audit()

    @model_validator(mode="after")
    def _lease_outlives_a_send(self) -> Self:
        if self.delivery.lease_seconds <= self.egress.timeout_seconds:
            msg = "POSTRIDER_DELIVERY__LEASE_SECONDS must exceed POSTRIDER_EGRESS__TIMEOUT_SECONDS"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _production_is_closed(self) -> Self:
        if self.environment is Environment.production:
            if any(allowance.covers_loopback for allowance in self.egress.allowances()):
                msg = "POSTRIDER_EGRESS__ALLOW may not name loopback in production"
                raise ValueError(msg)
            probe = self.egress.probe_allowance()
            if probe is not None and probe.covers_loopback:
                msg = "POSTRIDER_EGRESS__PROBE may not name loopback in production"
                raise ValueError(msg)
        return self

    def mail_server(self) -> SmtpServer | None:
        """The server that takes mail, if one is set."""
        if self.mail.url is None:
            return None
        said = self.mail.require_tls
        required = self.environment is Environment.production if said is None else said
        return SmtpServer.parse(self.mail.url.get_secret_value(), tls_required=required)

    @property
    def issuer(self) -> str:
        """Who makes tokens: the public URL, without a slash at its end."""
        return self.public_url.rstrip("/")

    @property
    def requires_https(self) -> bool:
        """Whether plain HTTP is refused: as was said, else where the public URL is HTTPS."""
        said = self.http.require_https
        return self.public_url.startswith("https:") if said is None else said

    @property
    def is_local(self) -> bool:
        """Whether this machine may call itself by any of its names, and without HTTPS."""
        return self.environment is not Environment.production or is_loopback(self._public_host)

    def hosts(self) -> frozenset[str]:
        """The names and addresses that are ours."""
        return frozenset({self._public_host, *self.http.allowed_hosts})

    @property
    def _public_host(self) -> str:
        return host_name(urlsplit(self.public_url).netloc) or ""


def _required(value: SecretStr | None, name: str) -> str:
    if value is None:
        msg = f"{name} is not set"
        raise ValueError(msg)
    return value.get_secret_value()


def read_settings() -> Settings:
    """The process's settings; pydantic's ValidationError names what is missing or wrong."""
    return Settings()
