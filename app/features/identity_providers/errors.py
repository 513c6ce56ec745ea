"""What can be wrong with an identity provider, and with what it says of people."""

from app.domain.audit import Target
from app.domain.ids import encode
from app.kit.errors import Kind, Problem, conflict, forbidden, unauthenticated
from app.models import IdentityProvider

PROVIDER = "idp"


def provider_target(row: IdentityProvider) -> Target:
    """An identity provider, as the audit log names it."""
    return Target("identity_provider", encode(PROVIDER, row.id), row.name)


def refused(word: str, detail: str) -> Problem:
    """What the provider said, or is said to have said, is not believed."""
    return unauthenticated(f"Your organisation's identity provider could not confirm who you are: {detail}", word)


def unreachable(detail: str) -> Problem:
    """The provider gave no answer that could be used."""
    sentence = f"Your organisation's identity provider did not answer as it should: {detail}"
    return Problem(Kind.bad_gateway, "bad_gateway", sentence, word="provider_unavailable")


def names_unavailable(detail: str) -> Problem:
    """The name servers gave no answer."""
    return Problem(Kind.bad_gateway, "bad_gateway", f"The domain could not be looked at: {detail}", word="names_failed")


def not_theirs(word: str, detail: str) -> Problem:
    """The provider may not vouch for this person."""
    return forbidden(detail, word)


def not_verified(name: str) -> Problem:
    """The name servers do not show the challenge."""
    detail = f"No TXT record of {name} holds the challenge yet; add it, wait until it is published, and try again"
    return conflict(detail, "domain_not_verified")


def domain_taken() -> Problem:
    """Somebody else has proved that the domain is theirs."""
    return conflict("Another identity provider has this domain; remove it there first", "domain_taken")


def domain_exists() -> Problem:
    """The provider has the domain already."""
    return conflict("The identity provider has this domain already", "domain_exists")
