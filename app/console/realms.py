"""Which identity provider an address belongs to, by its domain alone: who exists is not looked at."""

from urllib.parse import urlencode

from app.auth.phases import InPhases
from app.console.visits import Visit
from app.domain import email
from app.domain.ids import encode
from app.features.identity_providers import queries
from app.features.identity_providers.errors import PROVIDER
from app.kit.encryption import KeyRing

PAGE = "/sign-in/provider"
HINT = "provider-hint"
"""What the address is sealed for that is handed on to the provider."""


async def seek(visiting: Visit, phases: InPhases, address: str, next_: str) -> str | None:
    """The path that leads to the provider of an address's domain; None where nobody has proved the domain."""
    key = email.key(address)
    if key is None:
        return None
    async with phases.begin() as db:
        found = (await db.execute(queries.find_by_domain(email.domain(key)))).one_or_none()
    if found is None:
        return None
    ring: KeyRing = visiting.request.app.state.keyring
    hint = ring.seal(HINT, address.strip().encode())
    asked = {"provider": encode(PROVIDER, found.provider_id), "next": next_, "hint": hint}
    return f"{PAGE}?{urlencode(asked)}"
