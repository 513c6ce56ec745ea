"""What an OAuth client can ask for: words of OpenID Connect, and names of permissions; each in words for people."""

from collections.abc import Iterable
from enum import StrEnum

from app.domain.permissions import Permission


class OpenIdScope(StrEnum):
    """What is about the person, not about the API."""

    openid = "openid"
    profile = "profile"
    email = "email"
    offline_access = "offline_access"


_P = Permission
WORDS: dict[str, str] = {
    OpenIdScope.openid: "See who you are",
    OpenIdScope.profile: "See your name",
    OpenIdScope.email: "See your mail address",
    OpenIdScope.offline_access: "Keep its access when you are signed out, until you take it back",
    _P.application_list: "List applications",
    _P.application_read: "See applications",
    _P.application_write: "Create, change and delete applications",
    _P.audit_read: "Read the audit log",
    _P.delivery_read: "See deliveries",
    _P.delivery_replay: "Send deliveries again",
    _P.endpoint_read: "See endpoints",
    _P.endpoint_write: "Create, change and delete endpoints",
    _P.endpoint_secret_read: "See the signing secrets of endpoints",
    _P.endpoint_secret_write: "Change the signing secrets of endpoints",
    _P.endpoint_test: "Send test events to endpoints",
    _P.event_type_read: "See event types",
    _P.event_type_write: "Create, change and delete event types",
    _P.identity_provider_read: "See the organisation's identity providers",
    _P.identity_provider_write: "Change the organisation's identity providers",
    _P.key_read: "See API keys, without their texts",
    _P.key_write: "Create, change and revoke API keys",
    _P.member_read: "See the organisation's people",
    _P.member_write: "Invite, change and remove the organisation's people",
    _P.message_expunge: "Erase what messages hold",
    _P.message_read: "Read messages",
    _P.message_send: "Send messages",
    _P.oauth_client_read: "See the organisation's OAuth clients",
    _P.oauth_client_write: "Create, change and delete OAuth clients",
    _P.operational_webhook_read: "See where the organisation is told of events of its own",
    _P.operational_webhook_write: "Change where the organisation is told of events of its own",
    _P.organisation_delete: "Delete the organisation",
    _P.organisation_read: "See the organisation's settings",
    _P.organisation_write: "Change the organisation's settings",
    _P.portal_grant: "Open the portal of customers",
    _P.task_read: "See background tasks",
}
"""Every scope there is, as the page says it on which people allow it."""


def split(text: str | None) -> list[str]:
    """The scopes in a parameter: words with blanks between them, each once, in their order."""
    return list(dict.fromkeys((text or "").split()))


def permissions_in(scopes: Iterable[str]) -> frozenset[Permission]:
    """The permissions among scopes."""
    return frozenset(map(Permission, set(scopes) & set(Permission)))
