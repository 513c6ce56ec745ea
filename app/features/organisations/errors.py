"""What can be wrong with an organisation's policies and keys, in the wire's codes."""

from uuid import UUID

from app.domain.ids import encode
from app.kit.errors import Problem, conflict, forbidden

KEY = "key"
USER = "user"
SECRET = "sec"  # noqa: S105 the prefix of an id


def would_lock_out(detail: str) -> Problem:
    """The caller would cut itself off, and is asked whether it means that."""
    return conflict(f"{detail}; repeat the request with ?confirm=true if you mean it", "would_lock_out")


def beyond_own(reason: str) -> Problem:
    """A key would reach farther than the one that makes or changes it."""
    return forbidden(reason)


def key_ended() -> Problem:
    """A key that was revoked or has expired stays so."""
    return conflict("The key was revoked or has expired; make another one", "key_ended")


def rotation_in_progress(older: UUID) -> Problem:
    """Two secrets of the key are good at once already."""
    detail = f"Two secrets of the key are in force; end the older one, {encode(SECRET, older)}, before you rotate again"
    return conflict(detail, "rotation_in_progress")


def last_secret() -> Problem:
    """Without it the key would have no secret that is good."""
    return conflict("It is the key's only secret in force; rotate the key first, or revoke it", "last_secret")
