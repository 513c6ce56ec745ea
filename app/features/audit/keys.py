"""The keys that seal the audit log: derived from the key ring, their public halves for whoever verifies."""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.kit.encryption import KeyRing

PURPOSE = "audit-seal"


def signing_key(ring: KeyRing, key_id: str | None = None) -> tuple[str, Ed25519PrivateKey]:
    """A key id of the ring, the active one unless given, and the key that seals under it."""
    key_id, seed = ring.derive(PURPOSE, key_id)
    return key_id, Ed25519PrivateKey.from_private_bytes(seed)


def public_keys(ring: KeyRing) -> Mapping[str, Ed25519PublicKey]:
    """What verifies the seals of each key of the ring."""
    return {key_id: signing_key(ring, key_id)[1].public_key() for key_id in sorted(ring.key_ids)}
