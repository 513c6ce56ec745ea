"""How a client's secret lies encrypted: bound to organisation, provider and column."""

from uuid import UUID

from app.kit.encryption import KeyRing

SECRET_COLUMN = b"identity_providers.sealed_secret"


def binding(organisation_id: UUID, provider_id: UUID) -> bytes:
    """What the ciphertext of this row is authenticated with."""
    return SECRET_COLUMN + b":" + organisation_id.bytes + provider_id.bytes


def seal_secret(ring: KeyRing, organisation_id: UUID, provider_id: UUID, secret: str) -> bytes:
    """A client's secret as it is stored."""
    return ring.encrypt(secret.encode(), binding(organisation_id, provider_id))


def open_secret(ring: KeyRing, organisation_id: UUID, provider_id: UUID, sealed: bytes) -> str:
    """The text of a stored secret. Raises Undecryptable."""
    return ring.decrypt(sealed, binding(organisation_id, provider_id)).decode()
