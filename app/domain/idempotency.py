"""Idempotency keys: which are accepted, and how a repeated request is told from another one."""

import re
from hashlib import sha256

MAX_KEY = 256

_KEY = re.compile(rf"[\x20-\x7e]{{1,{MAX_KEY}}}")


def is_valid_key(text: str) -> bool:
    """Tell whether the key is 1 to 256 printable ASCII characters."""
    return _KEY.fullmatch(text) is not None


def fingerprint(method: str, path: str, body: bytes) -> bytes:
    """Return 32 bytes that two requests share only when method, path and body are the same."""
    # Lengths first, so that bytes cannot move from one part to the next.
    head = b"%d %b %d %b " % (len(method), method.encode(), len(path), path.encode())
    state = sha256(head)
    state.update(body)
    return state.digest()
