"""Every column that lies encrypted under the key ring, with what each of its values is bound to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table

from app.domain import api_key
from app.features.endpoints import sealing as endpoints
from app.features.factors import totp
from app.features.identity_providers import sealing as identity_providers
from app.features.mail import operations as mail
from app.kit import token_keys
from app.kit.db import Base, table_of
from app.models import (
    ApiKeySecret,
    Endpoint,
    EndpointSecret,
    IdentityProvider,
    Mail,
    SigningKey,
    Totp,
)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One of them. `binding` takes a row that has the columns of the table's key."""

    model: type[Base]
    name: str
    binding: Callable[[Any], bytes]

    @property
    def table(self) -> Table:
        """Where it is."""
        return table_of(self.model)

    @property
    def column(self) -> Column[Any]:
        """The column."""
        return self.table.c[self.name]


SEALED = (
    Sealed(
        EndpointSecret,
        "secret",
        lambda row: endpoints.binding(endpoints.SECRET_COLUMN, row.environment_id, row.endpoint_id),
    ),
    Sealed(Endpoint, "headers", lambda row: endpoints.binding(endpoints.HEADERS_COLUMN, row.environment_id, row.id)),
    Sealed(ApiKeySecret, "sealed", lambda row: api_key.sealed_for(row.id)),
    Sealed(Totp, "sealed", lambda row: totp.binding(row.user_id, row.id)),
    Sealed(IdentityProvider, "sealed_secret", lambda row: identity_providers.binding(row.organisation_id, row.id)),
    Sealed(SigningKey, "sealed", lambda row: token_keys.sealed_for(row.id)),
    Sealed(Mail, "sealed", lambda row: mail.binding(row.owner_id, row.id)),
)
