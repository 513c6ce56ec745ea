"""How Postrider is known to a provider, and whom the provider vouches for."""

from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Account:
    """How Postrider is known to a provider; `id` and `organisation_id` are ours, the rest is the provider's."""

    organisation_id: UUID
    id: UUID
    issuer: str
    client_id: str
    secret: str | None = field(repr=False)
    auth_method: str
    scopes: str


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom a provider vouches for, in its own words; `session` is how it calls the session there (`sid`)."""

    subject: str
    email: str | None
    email_verified: bool
    name: str
    session: str | None
