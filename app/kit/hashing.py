"""Passwords as argon2id keeps them, hashed beside the event loop and never more at once than there are cores."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.kit.errors import Kind, Problem

P = ParamSpec("P")
T = TypeVar("T")
# OWASP's least for argon2id: 19 MiB, two passes, one lane; about 30 ms of a core.
PASSES, MEMORY_KIB, LANES = 2, 19 * 1024, 1
QUEUE_SECONDS = 1.0
BUSY = "Too many people are signing in at once; try again"


class Hasher:
    """Hashes and verifies; one for each process.

    Whoever waited for a turn for longer than a second is told to come back: a flood of sign-ins may not starve
    everything else of its processors.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or max(1, (os.cpu_count() or 2) // 2)
        self._argon = PasswordHasher(PASSES, MEMORY_KIB, LANES)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hashing")
        self._turns = asyncio.Semaphore(self._threads)
        self._nobody = self._argon.hash(os.urandom(16).hex())

    async def hash(self, password: str) -> str:
        """The password as it is stored. Raises Problem `unavailable` when too many wait."""
        async with _Turn(self._turns):
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._argon.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; where none is stored it takes as long, and is not. Raises as `hash`."""
        async with _Turn(self._turns):
            loop = asyncio.get_running_loop()
            good = await loop.run_in_executor(self._pool, self._matches, stored or self._nobody, password)
        return good and stored is not None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Other work on passwords, such as judging one. Raises as `hash`."""
        async with _Turn(self._turns):
            return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))

    def is_outdated(self, stored: str) -> bool:
        """Whether it was hashed with other parameters than those of today."""
        return self._argon.check_needs_rehash(stored)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._argon.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


class _Turn:
    """A turn at hashing, waited for within bounds."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise Problem(Kind.unavailable, "busy", BUSY, retry_after=1.0) from None

    async def __aexit__(self, *_: object) -> None:
        self._turns.release()
