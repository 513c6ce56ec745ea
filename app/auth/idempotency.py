"""Carries out a POST once per idempotency key; a repetition gets the first one's answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import Insert, Select, Update, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.auth.dependencies import AnyCaller, Db
from app.domain.idempotency import MAX_KEY, fingerprint
from app.kit.encryption import KeyRing
from app.kit.errors import Problem, conflict
from app.kit.openapi import answers
from app.models import IdempotencyKey

KEPT = timedelta(hours=24)
REPLAYED = "idempotency-replayed"
UNANSWERED = 0
PRINTABLE = r"^[\x20-\x7e]+$"
ENCRYPTED = b"\x01"
DESCRIPTION = "Makes it safe to repeat the request"
DOCUMENTED = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": PRINTABLE, "maxLength": MAX_KEY},
    "description": DESCRIPTION,
}
"""The header in the OpenAPI document, for a route that reads it by itself."""


def request_key(caller: Caller, method: str, path: str, key: str) -> bytes:
    """The 32 bytes that stand for an idempotency key of this caller on this route."""
    parts = (str(caller.environment_id), caller.subject, method, path, key)
    return sha256(b"".join([b"%d:%b" % (len(part), part) for part in map(str.encode, parts)])).digest()


def key_conflict() -> Problem:
    """The key was used for another request."""
    return conflict("The idempotency key was used with another body", "idempotency_conflict")


def reserve(environment_id: UUID, key: bytes, body_digest: bytes) -> Insert:
    """Takes the key, or a stale one again. No row comes back when it is taken; while it is being taken, this waits."""
    new = insert(IdempotencyKey).values(
        environment_id=environment_id, key=key, body_digest=body_digest, status=UNANSWERED, response=b""
    )
    fresh = {"body_digest": new.excluded.body_digest, "status": UNANSWERED, "response": b"", "created_at": func.now()}
    return new.on_conflict_do_update(
        index_elements=["environment_id", "key"], set_=fresh, where=IdempotencyKey.created_at < func.now() - KEPT
    ).returning(IdempotencyKey.key)


def remember(environment_id: UUID, key: bytes, status: int, response: bytes) -> Update:
    """Keeps the answer with the key."""
    return (
        update(IdempotencyKey)
        .where(IdempotencyKey.environment_id == environment_id, IdempotencyKey.key == key)
        .values(status=status, response=response)
    )


def recall(environment_id: UUID, key: bytes) -> Select[bytes, int, bytes]:
    """The digest of the body, the status and the answer."""
    return select(IdempotencyKey.body_digest, IdempotencyKey.status, IdempotencyKey.response).where(
        IdempotencyKey.environment_id == environment_id, IdempotencyKey.key == key
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose status only the work knows; `etag` names the version of what is shown.

    An answer that is replayed bears no tag: the thing may have changed since.
    """

    status: int
    body: BaseModel | None = None
    etag: str | None = None

    def response(self) -> Response:
        """The response in HTTP."""
        body = b"" if self.body is None else self.body.model_dump_json(by_alias=True).encode()
        return written(self.status, body, None if self.etag is None else {"etag": self.etag})


Work = Callable[[], Awaitable[BaseModel | Answer | None]]


def written(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """A JSON response of these bytes, or an empty one."""
    return Response(body, status, headers, media_type="application/json" if body else None)


@dataclass(frozen=True, slots=True)
class Once:
    """`await once(status, work)` answers with what `work` returns, and runs it once per idempotency key.

    The key is taken first, in the request's own transaction: a concurrent repetition waits until that ends, and a
    refusal forgets the key. `private` answers are kept encrypted.
    """

    db: AsyncSession
    ring: KeyRing
    environment_id: UUID
    key: bytes | None
    body_digest: bytes

    async def __call__(self, status: int, work: Work, *, private: bool = False) -> Response:
        """The response of the work, or of the request that this one repeats."""
        if self.key is None:
            return (await _done(status, work)).response()
        reserved = await self.db.execute(reserve(self.environment_id, self.key, self.body_digest))
        if reserved.first() is None:
            return await self._replay(self.key)
        response = (await _done(status, work)).response()
        kept = self._hide(self.key, bytes(response.body)) if private else bytes(response.body)
        await self.db.execute(remember(self.environment_id, self.key, response.status_code, kept))
        return response

    async def _replay(self, key: bytes) -> Response:
        digest, status, body = (await self.db.execute(recall(self.environment_id, key))).one()
        if digest != self.body_digest:
            raise key_conflict()
        shown = self.ring.decrypt(body, self._aad(key)) if body.startswith(ENCRYPTED) else body
        return written(status, shown, {REPLAYED: "true"})

    def _hide(self, key: bytes, body: bytes) -> bytes:
        return self.ring.encrypt(body, self._aad(key)) if body else body

    def _aad(self, key: bytes) -> bytes:
        return b"idempotency_keys.response:" + self.environment_id.bytes + key

    @classmethod
    @answers(409)
    async def of(
        cls,
        request: Request,
        caller: AnyCaller,
        db: Db,
        idempotency_key: Annotated[
            str | None,
            Header(pattern=PRINTABLE, max_length=MAX_KEY, description=DESCRIPTION),
        ] = None,
    ) -> Self:
        """The dependency."""
        if idempotency_key is None:
            return cls(db, request.app.state.keyring, caller.environment_id, None, b"")
        method, path = request.method, request.url.path
        digest = fingerprint(method, path, await request.body())
        key = request_key(caller, method, path, idempotency_key)
        return cls(db, request.app.state.keyring, caller.environment_id, key, digest)


async def _done(status: int, work: Work) -> Answer:
    result: Any = await work()
    return result if isinstance(result, Answer) else Answer(status, result)


OnceOnly = Annotated[Once, Depends(Once.of)]
