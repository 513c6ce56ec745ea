"""Recovery codes: ten of 80 random bits, of which digests are kept."""

import base64
import secrets
from hashlib import sha256

COUNT = 10
CODE_BYTES = 10
GROUP = 4


def new_codes() -> list[str]:
    """Codes as a person writes them down: four groups of four letters and digits."""
    return [_grouped(base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode().lower()) for _ in range(COUNT)]


def digest(code: str) -> bytes:
    """What is stored of a code, however it was typed: 80 random bits cannot be guessed."""
    plain = "".join(one for one in code.lower() if one.isascii() and one.isalnum())
    # Base32 has neither of these digits, which people read into its letters.
    return sha256(plain.replace("0", "o").replace("1", "l").encode()).digest()


def _grouped(text: str) -> str:
    return "-".join(text[at : at + GROUP] for at in range(0, len(text), GROUP))
