"""What can be wrong with members and invitations, in the wire's codes."""

from app.kit.errors import Kind, Problem, conflict, forbidden, unauthenticated

USER = "user"
INVITATION = "inv"


def beyond_own(reason: str) -> Problem:
    """Somebody would get, or has, more than whoever acts."""
    return forbidden(reason)


def no_member() -> Problem:
    """Whoever is signed in belongs to no organisation, or no longer to the one that it looked at."""
    detail = "You do not belong to this organisation: choose another one, or ask to be invited"
    return forbidden(detail, "no_organisation")


def last_owner() -> Problem:
    """Without it nobody could do everything any more."""
    return conflict("It is the organisation's last owner; make somebody else an owner first", "last_owner")


def already_member() -> Problem:
    """There is nothing to invite to."""
    return conflict("Whoever has this address is a member already", "already_member")


def already_invited() -> Problem:
    """The invitation of before is still good."""
    return conflict("This address is invited already; send that invitation again, or revoke it", "already_invited")


def invitation_over() -> Problem:
    """It was accepted or revoked."""
    return conflict("The invitation was accepted or revoked; make another one", "invitation_over")


def sent_lately(seconds: float) -> Problem:
    """Nobody's mailbox is to be filled."""
    detail = "The invitation was sent a moment ago; wait for a minute"
    return Problem(Kind.too_many, "limit_reached", detail, retry_after=max(1.0, seconds))


def invalid_token() -> Problem:
    """The link opens nothing, or nothing any more."""
    detail = "This link is not valid, or not any more: ask whoever invited you for a new one"
    return Problem(Kind.bad_request, "bad_request", detail, word="invalid_token")


def other_person(address: str) -> Problem:
    """Whoever is signed in is not the one who was invited."""
    detail = f"The invitation is for {address}: sign out, then open the link once more"
    return forbidden(detail, "other_person")


def link_over() -> Problem:
    """A one-time link that was used, or has expired."""
    return unauthenticated(
        "This link was used, is too old, or was copied only in part: ask the operator for a new one", "invalid_token"
    )
