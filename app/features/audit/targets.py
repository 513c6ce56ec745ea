"""Things as targets of audit events."""

from urllib.parse import urlsplit
from uuid import UUID

from app.domain.audit import Target
from app.domain.ids import encode
from app.models import ApiKey, Application, Endpoint, Invitation, Message, User


def organisation_target(organisation_id: UUID, name: str = "") -> Target:
    """An organisation."""
    return Target("organisation", encode("org", organisation_id), name)


def key_target(key: ApiKey) -> Target:
    """An API key."""
    return Target("key", encode("key", key.id), key.name)


def user_target(user: User) -> Target:
    """A person."""
    return Target("user", encode("user", user.id), user.email)


def invitation_target(invitation: Invitation) -> Target:
    """An invitation, by the address that it went to."""
    return Target("invitation", encode("inv", invitation.id), invitation.email)


def application_target(application: Application) -> Target:
    """An application."""
    return Target("application", encode("app", application.id), application.name)


def endpoint_target(endpoint: Endpoint, kind: str = "endpoint") -> Target:
    """An endpoint, by its host alone: the rest of a URL may be a secret."""
    return Target(kind, encode("ep", endpoint.id), urlsplit(endpoint.url).hostname or "")


def message_target(message: Message) -> Target:
    """A message."""
    return Target("message", encode("msg", message.id), message.event_type)
