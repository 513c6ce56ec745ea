"""What PostgreSQL said a moment ago, in Redis, for all processes; it is forgotten by all at once.

An entry lives for five seconds at most, and only for as long as the epochs of its owners are those under which
PostgreSQL was asked. `forget` begins another epoch, so nobody sees the entry again, not even what is being written
right now by somebody who asked before. An epoch is a random text: one that was lost with the server's memory never
comes back. While Redis is out, nothing is found and nothing is kept.
"""

import secrets
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import cast
from uuid import UUID

from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.kit.circuit import CONNECTIONS, PATIENCE_SECONDS, TRIAL_MILLISECONDS, Circuit, pool_of
from app.kit.encryption import Forged, KeyRing
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import CACHE

LIFE_SECONDS = 5.0
EPOCH_SECONDS = 60
EPOCH_BYTES = 16
TRIES = 3
"""So often an epoch is begun anew where Redis does not answer in time."""
PURPOSE = "cache"
ENTRY, EPOCH = "postrider:cache:", "postrider:epoch:"
TRIAL = "postrider:trial:cache"
OUT = ("sessions and tokens are looked up in PostgreSQL each time", "sessions and tokens are cached again")
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found under a key, if anything, and when and under which epochs; without epochs nothing can be kept."""

    key: str
    value: bytes | None
    epochs: bytes | None
    at: float


class Cache:
    """One for each process. What it keeps is sealed: whoever reads or writes Redis learns nothing, and forges nothing.

    A question takes `patience` seconds at most, and none while Redis is out.
    """

    def __init__(self, url: str, ring: KeyRing, patience: float = PATIENCE_SECONDS) -> None:
        self._ring = ring
        self._pool = pool_of(url, patience)
        self._redis = Redis(connection_pool=self._pool, retry=AsyncRetry(NoBackoff(), 0))
        trial = partial(self._redis.set, TRIAL, 1, px=TRIAL_MILLISECONDS)
        self._circuit = Circuit(patience, CONNECTIONS, *OUT, use="cache", trial=trial)

    async def get(self, key: str, owners: Sequence[UUID]) -> Looked:
        """What is kept under the key; ask it before PostgreSQL is asked, and hand it to `put` afterwards.

        A key begins with a word for what it is, and a slash.
        """
        looked = await self._look(key, owners)
        CACHE.labels(key.partition("/")[0], _outcome(looked)).inc()
        return looked

    async def _look(self, key: str, owners: Sequence[UUID]) -> Looked:
        at, names = time.monotonic(), [_epoch(one) for one in owners]
        found = await self._circuit.ask(lambda: self._redis.mget(ENTRY + key, *names))
        if found is None:
            return Looked(key, None, None, at)
        entry, *epochs = cast("list[bytes | None]", found)
        if None in epochs:
            return Looked(key, None, await self._begin(names), at)
        joined = b"".join(cast("list[bytes]", epochs))
        return Looked(key, None if entry is None else self._open(key, joined, entry), joined, at)

    async def put(self, looked: Looked, value: bytes) -> None:
        """Keeps what PostgreSQL said after `looked`, for what is left of its five seconds."""
        left = int((LIFE_SECONDS - (time.monotonic() - looked.at)) * 1000)
        if looked.epochs is None or left <= 0:
            return
        sealed = self._ring.seal(PURPOSE, value, _aad(looked.key, looked.epochs))
        await self._circuit.ask(lambda: self._redis.set(ENTRY + looked.key, sealed, px=left))

    async def forget(self, *owners: UUID) -> None:
        """Begins another epoch of each owner; call it after the change was committed.

        It is tried more than once, and also while Redis rests: another process may reach it.
        """
        for owner in owners:
            await self._forget(owner)

    async def close(self) -> None:
        """Gives the connections back."""
        self._circuit.stop()
        await self._pool.disconnect()

    async def _forget(self, owner: UUID) -> None:
        begin = partial(self._redis.set, _epoch(owner), _new(), ex=EPOCH_SECONDS)
        for _ in range(TRIES):
            if await self._circuit.ask(begin, insist=True) is not None:
                return

    async def _begin(self, names: Sequence[str]) -> bytes | None:
        async def ask() -> list[bytes | None]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.set(name, _new(), ex=EPOCH_SECONDS, nx=True)
                pipeline.mget(names)
                found: list[bytes | None] = (await pipeline.execute())[-1]
                return found

        epochs = await self._circuit.ask(ask)
        return None if epochs is None or None in epochs else b"".join(cast("list[bytes]", epochs))

    def _open(self, key: str, epochs: bytes, entry: bytes) -> bytes | None:
        try:
            return self._ring.unseal(PURPOSE, entry.decode("latin-1"), _aad(key, epochs))
        except Forged:
            return None


def forget_from_outside(url: str, owners: Collection[UUID]) -> None:
    """The same as `Cache.forget` for processes without an event loop: commands and workers."""
    if not owners:
        return
    once = Retry(NoBackoff(), 0)
    try:
        with closing(SyncRedis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=once)) as client:
            for name in map(_epoch, owners):
                client.set(name, _new(), ex=EPOCH_SECONDS)
    except (RedisError, OSError) as error:
        logger.warning("cache_not_cleared", error=type(error).__name__, effect="processes find out within five seconds")


def _outcome(looked: Looked) -> str:
    if looked.value is not None:
        return "hit"
    return "unavailable" if looked.epochs is None else "miss"


def _new() -> str:
    return secrets.token_hex(EPOCH_BYTES)


def _epoch(owner: UUID) -> str:
    return EPOCH + owner.hex


def _aad(key: str, epochs: bytes) -> bytes:
    return key.encode() + b"\0" + epochs
