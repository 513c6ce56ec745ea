"""Half a sign-in: what a person has shown so far, as a signed ticket that opens nothing but the next step."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from app.kit.clock import new_id, utc_now
from app.kit.encryption import KeyRing

ISSUER = "postrider/sign-in"
ALGORITHM = "HS256"
PURPOSE = "sign-in-ticket"
LIFETIME = timedelta(minutes=10)
MOST_NEXT, HOME = 1900, "/account"
"""Browsers keep no cookie beyond 4096 bytes, and without the ticket nobody comes to the second step."""
REFUSED = (JoseError, KeyError, TypeError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Vouched:
    """What an identity provider said: of which organisation it is, and by which names it calls person and session."""

    organisation_id: UUID
    provider_id: UUID
    subject: str
    session: str | None

    def claim(self) -> list[str | None]:
        """As a ticket carries it."""
        return [self.organisation_id.hex, self.provider_id.hex, self.subject, self.session]

    @classmethod
    def read(cls, claim: list[Any] | None) -> Self | None:
        """From a ticket."""
        return None if claim is None else cls(UUID(hex=claim[0]), UUID(hex=claim[1]), claim[2], claim[3])


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who showed what. `reason` is why a second step is asked for, `mfa` or `risk`; `next` is where to go then."""

    id: UUID
    user_id: UUID
    methods: Sequence[str]
    reason: str
    next: str
    expires_at: datetime
    session_version: int = 1
    vouched: Vouched | None = None


def new_ticket(user_id: UUID, session_version: int, methods: Sequence[str], reason: str, next_: str) -> Ticket:
    """A ticket from now on. Where `next_` is too long for a cookie it leads to the person's own page."""
    where = next_ if len(json.dumps(next_)) <= MOST_NEXT else HOME
    return Ticket(new_id(), user_id, tuple(methods), reason, where, utc_now() + LIFETIME, session_version)


class Tickets:
    """Makes and reads tickets: issued and verified here alone, so by HS256, under keys derived from the key ring."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def mint(self, ticket: Ticket) -> str:
        """The ticket as text."""
        key_id, key = self._ring.derive(PURPOSE)
        claims = {
            "iss": ISSUER,
            "aud": ISSUER,
            "jti": ticket.id.hex,
            "sub": ticket.user_id.hex,
            "ver": ticket.session_version,
            "amr": list(ticket.methods),
            "reason": ticket.reason,
            "next": ticket.next,
            "exp": int(ticket.expires_at.timestamp()),
            "vouched": None if ticket.vouched is None else ticket.vouched.claim(),
        }
        header = {"alg": ALGORITHM, "kid": key_id, "typ": "ticket+jwt"}
        return jwt.encode(header, claims, OctKey.import_key(key), [ALGORITHM])

    def read(self, text: str) -> Ticket | None:
        """The ticket; None for one that was not made here, was changed, or is over."""
        try:
            token = jwt.decode(text, self._key, [ALGORITHM])
            claims = token.claims
            if token.header.get("typ") != "ticket+jwt" or claims["iss"] != ISSUER or claims["aud"] != ISSUER:
                return None
            ticket = Ticket(
                UUID(hex=claims["jti"]),
                UUID(hex=claims["sub"]),
                tuple(map(str, claims["amr"])),
                str(claims["reason"]),
                str(claims["next"]),
                datetime.fromtimestamp(claims["exp"], UTC),
                int(claims["ver"]),
                Vouched.read(claims["vouched"]),
            )
        except REFUSED:
            return None
        return ticket if ticket.expires_at > utc_now() else None

    def _key(self, signed: Any) -> OctKey:  # noqa: ANN401 joserfc passes one of several kinds
        return OctKey.import_key(self._ring.derive(PURPOSE, signed.headers()["kid"])[1])
