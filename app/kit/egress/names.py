"""Names to addresses, without a thread and without waiting for a slow name server."""

import asyncio
import socket
from collections.abc import Sequence
from time import monotonic

import aiodns
import pycares

from app.kit.telemetry.lookups import Lookups

_TRIES = 2
_FAILURE_SECONDS = 1.0
_FLAGS = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS
_REASONS = {
    pycares.errno.ARES_ENOTFOUND: "the host name does not exist",
    pycares.errno.ARES_ENODATA: "the host name has no address",
    pycares.errno.ARES_ETIMEOUT: "the name servers did not answer in time",
    pycares.errno.ARES_ESERVFAIL: "the name server failed",
    pycares.errno.ARES_EREFUSED: "the name server refused to answer",
    pycares.errno.ARES_EBADRESP: "the name server's answer is malformed",
    pycares.errno.ARES_EBADNAME: "the host name is malformed",
}

_NO_RECORD = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA})

_Entry = tuple[float, tuple[str, ...] | str]


class NameLookupError(Exception):
    """A host name without a usable answer; the text is safe to show."""


class Names:
    """Resolves A and AAAA by aiodns, /etc/hosts included, search domains excluded.

    Each lookup has a limit of its own, one lookup per host is under way at a time, and
    answers are remembered for a few seconds only: what a host resolves to is judged
    anew at each try, so the memory is also how long a changed name may go unnoticed.
    """

    def __init__(self, nameservers: Sequence[str] = (), *, limit: float, memory: float, capacity: int = 10_000) -> None:
        self._resolver = aiodns.DNSResolver(
            nameservers=list(nameservers) or None,
            timeout=limit / (_TRIES + 1),
            tries=_TRIES,
            flags=_FLAGS,
        )
        self._limit = limit
        self._memory = memory
        self._capacity = capacity
        self._known: dict[str, _Entry] = {}
        self._lookups = Lookups("names")
        self._under_way: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._emptying: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """Ends what is under way; the object is of no use afterwards."""
        under_way = list(self._under_way.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._emptying is not None:
            self._emptying.cancel()
        await self._resolver.close()

    def known(self, host: str) -> tuple[str, ...] | None:
        """The remembered addresses of `host`, if any. Raises NameLookupError if it just failed."""
        entry = self._known.get(host)
        if entry is None or entry[0] < monotonic():
            return None
        self._lookups.hits += 1
        if isinstance(entry[1], str):
            raise NameLookupError(entry[1])
        return entry[1]

    async def lookup(self, host: str) -> tuple[str, ...]:
        """All addresses of `host`, at least one, sorted. Raises NameLookupError."""
        known = self.known(host)
        if known is not None:
            return known
        self._lookups.miss()
        task = self._under_way.get(host)
        if task is None:
            task = self._under_way[host] = asyncio.create_task(self._ask(host))
            task.add_done_callback(lambda done: self._finished(host, done))
        # A caller that gives up must not take the answer away from the others.
        return await asyncio.shield(task)

    async def texts(self, name: str) -> tuple[str, ...]:
        """The TXT records of `name`, each as one text; none where it has none. Raises NameLookupError."""
        try:
            async with asyncio.timeout(self._limit):
                found = await self._resolver.query_dns(name, "TXT")
        except TimeoutError:
            raise NameLookupError("the name servers did not answer in time") from None
        except aiodns.error.DNSError as error:
            if error.args[0] in _NO_RECORD:
                return ()
            raise NameLookupError(_REASONS.get(error.args[0], "the name cannot be resolved")) from None
        finally:
            self._empty_soon()
        records = (one.data for one in found.answer)
        return tuple(one.data.decode("utf-8", "replace") for one in records if isinstance(one, pycares.TXTRecordData))

    def _finished(self, host: str, task: asyncio.Task[tuple[str, ...]]) -> None:
        del self._under_way[host]
        if task.cancelled():
            return
        task.exception()
        self._empty_soon()

    def _empty_soon(self) -> None:
        if self._emptying is None:
            pause = min(self._memory, _FAILURE_SECONDS)
            self._emptying = asyncio.get_running_loop().call_later(pause, self._empty_cache)

    def _empty_cache(self) -> None:
        """Makes the resolver forget what it knows: its own memory is an hour long for a host without an address."""
        self._emptying = None
        self._resolver._channel.reinit()  # noqa: SLF001 aiodns offers no way to it

    async def _ask(self, host: str) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(self._limit):
                answer = await self._resolver.getaddrinfo(host, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise self._failed(host, "the name servers did not answer in time") from None
        except aiodns.error.DNSError as error:
            reason = _REASONS.get(error.args[0], "the host name cannot be resolved")
            raise self._failed(host, reason) from None
        # Sorted, so that the same set of addresses is the same key whatever their order.
        addresses = tuple(sorted({node.addr[0].decode("ascii") for node in answer.nodes}))
        if not addresses:
            raise self._failed(host, "the host name has no address")
        self._remember(host, self._memory, addresses)
        return addresses

    def _failed(self, host: str, reason: str) -> NameLookupError:
        self._remember(host, min(self._memory, _FAILURE_SECONDS), reason)
        return NameLookupError(reason)

    def _remember(self, host: str, seconds: float, what: tuple[str, ...] | str) -> None:
        self._known.pop(host, None)
        if len(self._known) >= self._capacity:
            del self._known[next(iter(self._known))]
        if seconds > 0:
            self._known[host] = (monotonic() + seconds, what)
