"""What can be wrong with an organisation's OAuth clients, in the wire's codes."""

from uuid import UUID

from app.domain.ids import encode
from app.kit.errors import Problem, conflict, forbidden

CLIENT = "client"
SECRET = "sec"  # noqa: S105 the prefix of an id


def beyond_own(reason: str) -> Problem:
    """A client would reach farther than whoever makes or changes it."""
    return forbidden(reason)


def has_no_secrets() -> Problem:
    """It proves who it is by other means, or not at all."""
    return conflict("The client has no secrets: it is public, or signs with keys of its own", "no_secrets")


def rotation_in_progress(older: UUID) -> Problem:
    """Two secrets of the client are good at once already."""
    text = encode(SECRET, older)
    detail = f"Two secrets of the client are in force; end the older one, {text}, before you rotate again"
    return conflict(detail, "rotation_in_progress")


def last_secret() -> Problem:
    """Without it the client could not say who it is."""
    detail = "It is the client's only secret in force; rotate it first, or delete the client"
    return conflict(detail, "last_secret")
