"""What may be done, by name, and which of it each role may."""

from collections.abc import Collection
from enum import StrEnum
from functools import cache


class Permission(StrEnum):
    """What a route needs: a kind of thing, and what is done to it."""

    application_list = "application:list"
    application_read = "application:read"
    application_write = "application:write"
    audit_read = "audit:read"
    delivery_read = "delivery:read"
    delivery_replay = "delivery:replay"
    endpoint_read = "endpoint:read"
    endpoint_write = "endpoint:write"
    endpoint_secret_read = "endpoint-secret:read"  # noqa: S105 a permission's name
    endpoint_secret_write = "endpoint-secret:write"  # noqa: S105 as above
    endpoint_test = "endpoint:test"
    event_type_read = "event-type:read"
    event_type_write = "event-type:write"
    identity_provider_read = "identity-provider:read"
    identity_provider_write = "identity-provider:write"
    key_read = "key:read"
    key_write = "key:write"
    member_read = "member:read"
    member_write = "member:write"
    message_expunge = "message:expunge"
    message_read = "message:read"
    message_send = "message:send"
    oauth_client_read = "oauth-client:read"
    oauth_client_write = "oauth-client:write"
    operational_webhook_read = "operational-webhook:read"
    operational_webhook_write = "operational-webhook:write"
    organisation_delete = "organisation:delete"
    organisation_read = "organisation:read"
    organisation_write = "organisation:write"
    portal_grant = "portal:grant"
    task_read = "task:read"


class Role(StrEnum):
    """Roles, the mightiest first."""

    owner = "owner"
    admin = "admin"
    developer = "developer"
    support = "support"
    viewer = "viewer"


_P = Permission
VIEWS = frozenset(
    {
        _P.application_list,
        _P.application_read,
        _P.delivery_read,
        _P.endpoint_read,
        _P.event_type_read,
        _P.message_read,
        _P.operational_webhook_read,
        _P.organisation_read,
        _P.task_read,
    }
)
HELPS = VIEWS | {_P.audit_read, _P.delivery_replay, _P.endpoint_test, _P.member_read, _P.portal_grant}
BUILDS = VIEWS | {
    _P.application_write,
    _P.delivery_replay,
    _P.endpoint_secret_read,
    _P.endpoint_secret_write,
    _P.endpoint_test,
    _P.endpoint_write,
    _P.event_type_write,
    _P.key_read,
    _P.message_expunge,
    _P.message_send,
    _P.operational_webhook_write,
    _P.portal_grant,
}
GRANTED = {
    Role.owner: frozenset(Permission),
    Role.admin: frozenset(Permission) - {_P.organisation_delete},
    Role.developer: BUILDS,
    Role.support: HELPS,
    Role.viewer: VIEWS,
}
"""Support looks, repeats and lets customers in, but neither writes nor sees secrets."""

LIVE_ONLY = frozenset({_P.identity_provider_write, _P.member_write, _P.organisation_delete, _P.organisation_write})
"""What concerns the live environment too, and is not for keys of another."""


@cache
def permissions_of(role: Role, scopes: tuple[str, ...] | None, *, live: bool) -> frozenset[Permission]:
    """What a key may: as its role, of that only what its scopes name, and in the live environment more."""
    granted = GRANTED[role] if live else GRANTED[role] - LIVE_ONLY
    return granted if scopes is None else granted & frozenset(scopes)


def exceeds(held: Collection[Permission], wanted: Collection[Permission]) -> frozenset[Permission]:
    """What is wanted beyond what is held."""
    return frozenset(wanted) - frozenset(held)
