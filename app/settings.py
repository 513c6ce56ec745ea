"""Everything an operator sets, read from the environment (prefix POSTRIDER_, nested by two underscores)."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.addresses import Allowance, Network, parse_allow_list, parse_networks
from app.kit.encryption import KeyRing


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
    """The broker of wake-ups; nothing else is kept there."""

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


class Egress(BaseModel):
    """How deliveries leave: what may be reached, from where, for how long."""

    allow: Annotated[tuple[str, ...], NoDecode] = ()
    deny: Annotated[tuple[str, ...], NoDecode] = ()
    ports: tuple[int, ...] = (80, 443, 8080, 8443)
    https_only: bool = False
    timeout_seconds: PositiveFloat = 15.0
    nameservers: tuple[str, ...] = ()
    proxy: SecretStr | None = None
    source_address: str | None = None
    user_agent: str = "Postrider-Webhooks/0.1"

    @field_validator("allow", "deny", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    def allowances(self) -> tuple[Allowance, ...]:
        """The allow list as networks with optional ports."""
        return parse_allow_list(self.allow)

    def denials(self) -> tuple[Network, ...]:
        """The operator's own deny list."""
        return parse_networks(self.deny)


class Delivery(BaseModel):
    """The bounds of sending."""

    lease_seconds: PositiveFloat = 30.0
    concurrency_per_endpoint: PositiveInt = 8
    in_flight: PositiveInt = 512
    sweep_seconds: PositiveFloat = Field(default=1.0, le=2.0)
    drain_seconds: PositiveFloat = 20.0


class Ingest(BaseModel):
    """The bounds of the group commit."""

    batch: PositiveInt = 128


class Audit(BaseModel):
    """Where workers copy the audit log's seals to: a folder that exists, best on a disk of its own."""

    anchors: Path | None = None


class Settings(BaseSettings):
    """All settings. No secret has a default."""

    model_config = SettingsConfigDict(env_prefix="POSTRIDER_", env_nested_delimiter="__", extra="ignore")

    environment: Environment = Environment.production
    public_url: str = "http://localhost:8000"
    database: Database
    redis: Redis
    secrets: Secrets
    egress: Egress = Egress()
    delivery: Delivery = Delivery()
    ingest: Ingest = Ingest()
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
            for allowance in self.egress.allowances():
                if allowance.covers_loopback:
                    msg = "POSTRIDER_EGRESS__ALLOW may not name loopback in production"
                    raise ValueError(msg)
        return self


def _required(value: SecretStr | None, name: str) -> str:
    if value is None:
        msg = f"{name} is not set"
        raise ValueError(msg)
    return value.get_secret_value()


def read_settings() -> Settings:
    """The process's settings; pydantic's ValidationError names what is missing or wrong."""
    return Settings()
