"""Marks what this installation sends, so that it is known again if it comes back."""

from app.kit.encryption import KeyRing

HEADER = "postrider-instance"
_BYTES = 12


def marker(ring: KeyRing, key_id: str | None = None) -> str:
    """The installation's mark, under the active key unless another one is named; it tells outsiders nothing."""
    return ring.derive("instance", key_id)[1][:_BYTES].hex()


def markers(ring: KeyRing) -> frozenset[str]:
    """Every mark that this installation may have sent, as its key ring turned."""
    return frozenset(marker(ring, key_id) for key_id in ring.key_ids)
