"""Clients that ask for tokens."""

from typing import Any

CLIENTS = "/organisation/oauth-client"
CALLBACK = "https://app.example.test/callback"


def client_fields(**fields: object) -> dict[str, Any]:
    """A client that is taken."""
    return {
        "name": "Some app",
        "redirectUris": [CALLBACK],
        "grantTypes": ["authorization_code", "refresh_token"],
        "scopes": ["openid", "email", "message:read"],
        **fields,
    }
