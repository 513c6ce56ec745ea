"""Who is calling: an organisation by its API key, or one application by a portal token."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. `application_id` is set for a portal token, which sees that application only.

    `feature_flags` None means unrestricted; a portal token carries the flags it was made with. `capabilities` None
    means all. `subject` names the credential, for audit and idempotency.
    """

    organisation_id: UUID
    subject: str
    application_id: UUID | None = None
    feature_flags: frozenset[str] | None = None
    capabilities: frozenset[str] | None = None
    read_only: bool = False

    @property
    def is_organisation(self) -> bool:
        """Whether the whole organisation calls."""
        return self.application_id is None

    def may(self, capability: str) -> bool:
        """Whether the credential was not narrowed to exclude this."""
        return self.capabilities is None or capability in self.capabilities
