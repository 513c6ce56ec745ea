"""Who is calling: a program by an API key or an access token, a person by one, or an application's user by a portal."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.domain.networks import NetworkList
from app.domain.permissions import Permission


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller of an environment. `subject` names the credential, for audit, limits and idempotency.

    `application_id` is set for a portal token, which sees that application only. `feature_flags` None means
    unrestricted; a portal token carries the flags it was made with. `networks` are from where it may call; each list
    on its own. `key_id` is set for an API key, `ends_at` when its secret is known to end, and `maker_id` when a person
    made it. `client_id`, `family_id` and `scopes` are set for an OAuth access token, and `user_id` when it stands for a
    person.
    """

    organisation_id: UUID
    environment_id: UUID
    subject: str
    permissions: frozenset[Permission]
    is_live: bool = True
    application_id: UUID | None = None
    feature_flags: frozenset[str] | None = None
    networks: tuple[NetworkList, ...] = ()
    key_id: UUID | None = None
    ends_at: datetime | None = None
    maker_id: UUID | None = None
    user_id: UUID | None = None
    client_id: UUID | None = None
    family_id: UUID | None = None
    scopes: frozenset[str] = frozenset()

    @property
    def is_organisation(self) -> bool:
        """Whether the whole organisation calls."""
        return self.application_id is None

    @property
    def tenants(self) -> tuple[UUID, UUID]:
        """Whose rows the caller's transactions see: its environment's, and those of its organisation."""
        return self.environment_id, self.organisation_id

    @property
    def answerable(self) -> UUID | None:
        """The person, if any, without whom what the caller makes does not last."""
        return self.user_id or self.maker_id

    def may(self, permission: Permission) -> bool:
        """Whether it holds the permission."""
        return permission in self.permissions

    def may_call_from(self, address: str) -> bool:
        """Whether its lists of networks admit the address."""
        return all(one.admits(address) for one in self.networks)
