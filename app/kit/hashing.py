"""Passwords as argon2id keeps them, hashed beside the event loop and never more at once than there are cores."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.kit.telemetry.metrics import HASHES_WAITING
from app.kit.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")
# OWASP's least for argon2id: 19 MiB, two passes, one lane; about 30 ms of a core.
PASSES, MEMORY_KIB, LANES = 2, 19 * 1024, 1
QUEUE_SECONDS = 1.0


class Hasher:
    """Hashes and verifies; one for each process.

    Whoever waited for a turn for longer than a second is told to come back: a flood of sign-ins may not starve
    everything else of its processors.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or max(1, (os.cpu_count() or 2) // 2)
        self._argon = PasswordHasher(PASSES, MEMORY_KIB, LANES)
        # Threads as urgent as the loop's: a nicer one, put aside while it holds the interpreter's lock, holds up all.
        self._pool = ThreadPoolExecutor(self.threads, "hashing")
        self._turns = Turns(self.threads, QUEUE_SECONDS)
        HASHES_WAITING.set_function(lambda: self._turns.waiting)
        self._nobody = self._argon.hash(os.urandom(16).hex())

    async def hash(self, password: str) -> str:
        """The password as it is stored. Raises Problem `unavailable` when too many wait."""
        async with self._turns.one():
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._argon.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password; where none is stored it takes as long, and is not. Raises as `hash`."""
        async with self._turns.one():
            loop = asyncio.get_running_loop()
            good = await loop.run_in_executor(self._pool, self._matches, stored or self._nobody, password)
        return good and stored is not None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Other work on passwords, such as judging one. Raises as `hash`."""
        async with self._turns.one():
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
