"""How an endpoint's secrets and headers lie encrypted: bound to organisation, endpoint and column."""

import json
from collections.abc import Mapping
from uuid import UUID

from app.kit.encryption import KeyRing

SECRET_COLUMN = b"endpoint_secrets.secret"
HEADERS_COLUMN = b"endpoints.headers"


def binding(column: bytes, environment_id: UUID, endpoint_id: UUID) -> bytes:
    """What a ciphertext of this column and row is authenticated with."""
    return column + b":" + environment_id.bytes + endpoint_id.bytes


def seal_secret(ring: KeyRing, environment_id: UUID, endpoint_id: UUID, secret: str) -> bytes:
    """A signing secret as it is stored."""
    return ring.encrypt(secret.encode(), binding(SECRET_COLUMN, environment_id, endpoint_id))


def open_secret(ring: KeyRing, environment_id: UUID, endpoint_id: UUID, blob: bytes) -> str:
    """The text of a stored signing secret. Raises Undecryptable."""
    return ring.decrypt(blob, binding(SECRET_COLUMN, environment_id, endpoint_id)).decode()


def seal_headers(ring: KeyRing, environment_id: UUID, endpoint_id: UUID, headers: Mapping[str, str]) -> bytes | None:
    """Custom headers as they are stored; None for none."""
    if not headers:
        return None
    return ring.encrypt(json.dumps(dict(headers)).encode(), binding(HEADERS_COLUMN, environment_id, endpoint_id))


def open_headers(ring: KeyRing, environment_id: UUID, endpoint_id: UUID, blob: bytes | None) -> dict[str, str]:
    """The custom headers, in the order in which they were given. Raises Undecryptable."""
    if blob is None:
        return {}
    opened = json.loads(ring.decrypt(blob, binding(HEADERS_COLUMN, environment_id, endpoint_id)))
    return {str(name): str(value) for name, value in opened.items()}
