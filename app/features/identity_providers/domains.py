"""Domains that organisations claim, and how they prove them: by a TXT record that only the domain's owner can make."""

import hmac
import secrets
from collections.abc import Iterable

from app.features.identity_providers.errors import names_unavailable
from app.kit.egress import Egress, NameLookupError

CHALLENGE_BYTES = 24


def new_challenge() -> str:
    """What the record has to say, which nobody else knows."""
    return secrets.token_urlsafe(CHALLENGE_BYTES)


def challenge_name(domain: str) -> str:
    """Where the record has to be."""
    return f"_postrider-challenge.{domain}"


def challenge_text(challenge: str) -> str:
    """What the record has to say."""
    return f"postrider-domain-verification={challenge}"


def is_proved(challenge: str, texts: Iterable[str]) -> bool:
    """Whether one of the records says it."""
    wanted = challenge_text(challenge).encode()
    return any(hmac.compare_digest(one.strip().encode(), wanted) for one in texts)


async def texts_of(egress: Egress, domain: str) -> tuple[str, ...]:
    """The records at a domain's challenge, as its name servers have them now. Raises Problem `bad_gateway`."""
    try:
        return await egress.texts(challenge_name(domain))
    except NameLookupError as error:
        raise names_unavailable(str(error)) from None
