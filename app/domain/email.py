"""Mail addresses of people."""

import re
import unicodedata

MAX_LENGTH = 254
_MAX_LOCAL = 64
_ADDRESS = re.compile(
    r"[^\s@\x00-\x1f\x7f\"(),:;<>\[\\\]]+@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?"
)


def key(address: str) -> str | None:
    """How addresses are compared: normalised, in small letters, the domain in its ASCII form; None for no address."""
    text = unicodedata.normalize("NFKC", address.strip()).casefold()
    local, _, domain = text.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode()
    except UnicodeError:
        return None
    found = f"{local}@{ascii_domain}"
    if len(found) > MAX_LENGTH or len(local.encode()) > _MAX_LOCAL or not _ADDRESS.fullmatch(found):
        return None
    return found


def domain(address_key: str) -> str:
    """The domain of an address's key."""
    return address_key.rpartition("@")[2]
