"""How sure it is who somebody is: the methods of RFC 8176, and what they are worth (`acr`)."""

from collections.abc import Collection

STRONG = frozenset({"otp", "hwk", "swk", "rec", "mfa"})
"""Methods that are, or include, a second factor; a passkey that verified its user is both at once."""
ONE_FACTOR, TWO_FACTORS = "aal1", "aal2"
"""The assurance levels of NIST SP 800-63B."""


def assurance(methods: Collection[str]) -> str:
    """The level of somebody who signed in by these methods."""
    return TWO_FACTORS if STRONG.intersection(methods) else ONE_FACTOR
