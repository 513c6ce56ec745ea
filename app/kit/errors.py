"""The one error that use cases raise: a kind, a public code, a sentence that says what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

BEARER = "Bearer"


class Kind(StrEnum):
    """What went wrong, in no protocol's words."""

    bad_request = "bad_request"
    unauthenticated = "unauthenticated"
    forbidden = "forbidden"
    not_found = "not_found"
    conflict = "conflict"
    precondition_failed = "precondition_failed"
    precondition_required = "precondition_required"
    too_large = "too_large"
    unsupported_media = "unsupported_media"
    invalid = "invalid"
    too_many = "too_many"
    unavailable = "unavailable"
    bad_gateway = "bad_gateway"


@dataclass(frozen=True, slots=True)
class Fault:
    """One field that is wrong: where, what, and a machine's word for it."""

    loc: tuple[str | int, ...]
    msg: str
    type: str = "value_error"


class Problem(Exception):
    """A refusal that the caller is told of. `retry_after` is in seconds; `faults` name fields (kind `invalid`).

    `word` says more than `code` where the contract has no code of its own; it stands in the answer's `type`.
    `challenge` is how to call instead (kind `unauthenticated`, and others where it says more than the scheme).
    """

    def __init__(
        self,
        kind: Kind,
        code: str,
        detail: str,
        *,
        retry_after: float | None = None,
        faults: Sequence[Fault] = (),
        word: str | None = None,
        challenge: str = BEARER,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.code = code
        self.word = word or code.replace(" ", "_")
        self.detail = detail
        self.retry_after = retry_after
        self.faults = tuple(faults)
        self.challenge = challenge


def not_found(what: str = "Entity") -> Problem:
    """There is no such thing, or the caller may not know of it."""
    return Problem(Kind.not_found, "not_found", f"{what} not found")


def conflict(detail: str, code: str = "conflict") -> Problem:
    """It exists already."""
    return Problem(Kind.conflict, code, detail)


def changed() -> Problem:
    """Somebody else has changed it since it was read."""
    detail = "It was changed since you read it; read it again, and send the new ETag as If-Match"
    return Problem(Kind.precondition_failed, "precondition_failed", detail)


def invalid(field: str, message: str, *, where: str = "body", type_: str = "value_error") -> Problem:
    """One field has a value that cannot be."""
    return Problem(Kind.invalid, "invalid", message, faults=(Fault((where, *field.split(".")), message, type_),))


def forbidden(
    detail: str = "The credential does not allow this operation", word: str = "insufficient_scope"
) -> Problem:
    """The caller is known, and may not."""
    return Problem(Kind.forbidden, "insufficient access", detail, word=word)


def unauthenticated(detail: str = "Invalid or missing credential", word: str | None = None) -> Problem:
    """The caller is not known."""
    return Problem(Kind.unauthenticated, "authentication_failed", detail, word=word)
