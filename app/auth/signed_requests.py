"""Finds whose key signed a request, for callers that must not send a secret; each nonce is good once."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy import Insert
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.types import Scope

from app.domain import http_signatures
from app.domain.http_signatures import BadSignature, Request, Signature, Stale
from app.kit.clock import utc_now
from app.kit.db import enter_tenants
from app.kit.errors import Kind, Problem
from app.kit.request_line import sent
from app.models import SignatureNonce

SIGNATURES = frozenset({b"signature", b"signature-input"})
# Beyond the window, since the clock that purges is not the one that finds a signature fresh.
KEPT = timedelta(seconds=http_signatures.WINDOW) + timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A secret of an API key in force; a lookup may return a subclass that knows more."""

    organisation_id: UUID
    key_id: UUID
    secret: bytes = field(repr=False)


Secret = TypeVar("Secret", bound=SigningSecret)
Lookup = Callable[[str], Awaitable[Sequence[Secret]]]
"""From a keyid to its live secrets, at most two of one key; none for an unknown key, after the same work."""


def is_signed(scope: Scope) -> bool:
    """Whether the request means to be authenticated by a signature."""
    return any(name in SIGNATURES for name, _ in scope["headers"])


def take_nonce(organisation_id: UUID, key_id: UUID, nonce: str, expires_at: datetime) -> Insert:
    """Takes the nonce; no row comes back when it was taken. While it is being taken, this waits."""
    row = {"organisation_id": organisation_id, "key_id": key_id, "nonce": nonce, "expires_at": expires_at}
    return insert(SignatureNonce).values(row).on_conflict_do_nothing().returning(SignatureNonce.nonce)


class SignedRequests(Generic[Secret]):
    """Judges signed requests; an unknown key gets the answer of a bad signature, after the same work."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], lookup: Lookup[Secret]) -> None:
        self._sessions = sessions
        self._lookup = lookup

    async def verify(self, scope: Scope, body: bytes) -> Secret:
        """The secret that signed this request, whose nonce is taken and committed then; `body` is whole.

        Raises Problem `unauthenticated` with the reason `bad_signature`, `stale` or `replayed`.
        """
        try:
            secret, signature = await self._judge(_request(scope, body))
        except BadSignature as error:
            raise _refusal("bad_signature", str(error)) from None
        except Stale as error:
            raise _refusal("stale", str(error)) from None
        await self._take(secret, signature)
        return secret

    async def _judge(self, request: Request) -> tuple[Secret, Signature]:
        signature = http_signatures.read(request)
        secrets = await self._lookup(signature.key_id)
        number = http_signatures.maker(signature, [one.secret for one in secrets])
        if number is None:
            raise BadSignature(http_signatures.MISMATCH)
        http_signatures.check_time(signature, int(utc_now().timestamp()))
        return secrets[number], signature

    async def _take(self, secret: SigningSecret, signature: Signature) -> None:
        expires_at = datetime.fromtimestamp(signature.created, UTC) + KEPT
        async with self._sessions.begin() as session:
            await session.run_sync(enter_tenants, [secret.organisation_id])
            take = take_nonce(secret.organisation_id, secret.key_id, signature.nonce, expires_at)
            if (await session.execute(take)).first() is None:
                raise _refusal("replayed", "The nonce was used before: sign each request with another")


def _request(scope: Scope, body: bytes) -> Request:
    method, path = sent(scope)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return Request(method, path, scope["query_string"].decode("latin-1"), headers, body)


def _refusal(reason: str, detail: str) -> Problem:
    challenge = f'Signature error="{reason}"'
    return Problem(Kind.unauthenticated, "authentication_failed", detail, word=reason, challenge=challenge)
