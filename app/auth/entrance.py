"""Where every request comes in: whose credential it shows, from where that may be used, how often, and its use."""

import base64
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from app.auth.caller import Caller
from app.auth.cookies import SESSION
from app.auth.expiry import announce_end
from app.auth.keys import Callers, SigningKey
from app.auth.limits import Limits
from app.auth.signed_requests import SignedRequests, is_signed
from app.auth.uses import Uses
from app.domain.owned_tokens import Token
from app.kit.errors import Kind, Problem, forbidden
from app.kit.routing import BODY
from app.kit.telemetry import about

CALLER = "postrider.caller"
"""Where the scope holds the caller, once it was let in."""
IDENTIFIED = "postrider.identified"
"""Where the scope holds whose credential it is, let in or not."""


class FirstUses(Protocol):
    """Hears of each use of a key, and notices new addresses."""

    def note(self, organisation_id: UUID, key_id: UUID, ip: str | None) -> None:
        """A key was used."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Lets callers in; one for each process."""

    callers: Callers
    signatures: SignedRequests[SigningKey]
    limits: Limits
    uses: Uses
    first_uses: FirstUses

    async def admit(self, request: Request, *, basic: bool = False) -> Caller:
        """Who calls; a request is asked once. With `basic` a key may be the user name of HTTP Basic.

        Raises Problem `unauthenticated`, `forbidden` for an address from which it may not call, `too_many`, and
        `invalid_request` for more than one credential.
        """
        caller: Caller | None = request.scope.get(CALLER)
        if caller is None:
            caller = await self._identify(request, basic=basic)
            await self.limits.admit(caller, request.scope)
            announce_end(caller, request.scope)
            request.scope[CALLER] = caller
        return caller

    async def identify(self, scope: Scope, text: str) -> Caller:
        """The caller behind the text of a key or a token, where it may call from. Its use is noted.

        Raises Problem `unauthenticated`, `forbidden`, `too_many` for one failure too many, and `invalid_request` for
        the token of one person beside the session of another.
        """
        try:
            caller = await self.callers.identify(text)
        except Problem as error:
            if error.kind is not Kind.unauthenticated:
                raise
            raise (await self.limits.failed(scope) or error) from None
        if caller.user_id is not None:
            refuse_two_people(scope, caller.user_id)
        return self._welcome(scope, caller)

    async def _identify(self, request: Request, *, basic: bool) -> Caller:
        given = request.headers.getlist("authorization")
        signed = is_signed(request.scope)
        if len(given) + signed > 1:
            detail = "The request carries more than one credential; send one"
            raise Problem(Kind.bad_request, "invalid_request", detail)
        if signed:
            return await self._verify(request)
        return await self.identify(request.scope, credential(given[0] if given else "", basic=basic))

    async def _verify(self, request: Request) -> Caller:
        # Whoever reads the body later gets it from here.
        body = request.scope[BODY] = await request.body()
        try:
            key = await self.signatures.verify(request.scope, body)
        except Problem as error:
            raise (await self.limits.failed(request.scope) or error) from None
        return self._welcome(request.scope, key.caller)

    def _welcome(self, scope: Scope, caller: Caller) -> Caller:
        scope[IDENTIFIED] = caller
        note = about.current()
        note.organisation_id, note.application_id = caller.organisation_id, caller.application_id
        address = address_of(scope)
        if caller.networks and not caller.may_call_from(address):
            raise forbidden("The credential may not be used from this address", "ip_denied")
        if caller.key_id is not None:
            self.uses.note(caller.key_id, caller.organisation_id, address)
            self.first_uses.note(caller.organisation_id, caller.key_id, address)
        return caller


def refuse_two_people(scope: Scope, user_id: UUID) -> None:
    """Raises Problem `invalid_request` when the token is one person's and the session's cookie another's.

    Otherwise cookies mean nothing here.
    """
    cookie = Token.read(HTTPConnection(scope).cookies.get(SESSION, ""))
    if cookie is not None and cookie.owner_id != user_id:
        detail = "The request carries the token of one person and the session of another; send one of them"
        raise Problem(Kind.bad_request, "invalid_request", detail)


def address_of(scope: Scope) -> str:
    """The address from which a request comes; empty when the server does not know."""
    client = scope.get("client")
    return client[0] if client else ""


def credential(header: str, *, basic: bool = False) -> str:
    """The text behind `Authorization: Bearer`, or the user name of HTTP Basic where that is taken; empty for none.

    An empty one is nobody's.
    """
    scheme, _, text = header.partition(" ")
    if scheme.lower() == "bearer":
        return text.strip()
    return _user_name(text.strip()) if basic and scheme.lower() == "basic" else ""


def _user_name(text: str) -> str:
    try:
        name, _, password = base64.b64decode(text, validate=True).decode("ascii").partition(":")
    except ValueError:
        return ""
    return "" if password else name
