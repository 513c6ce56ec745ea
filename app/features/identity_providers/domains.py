"""Domains that organisations claim, and how they prove them: by a TXT record that only the domain's owner can make."""

import hmac
import secrets
from collections.abc import Iterable

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
