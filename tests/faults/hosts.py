"""Asynchronous peers, as the tests of the HTTP client have them, on a thread of their own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import TypeVar

T = TypeVar("T")


class Hosts:
    """Enters asynchronous contexts from any thread; all are left together."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stack: AsyncExitStack) -> None:
        self._loop, self._stack = loop, stack

    def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """What the context yields."""
        return asyncio.run_coroutine_threadsafe(self._stack.enter_async_context(context), self._loop).result(10)


@contextmanager
def running_hosts() -> Iterator[Hosts]:
    """A thread with a loop, whose guests are gone when the block ends."""
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    loop.set_exception_handler(lambda *_: None)  # handshakes fail here by intent
    thread = threading.Thread(target=loop.run_forever, name="hosts", daemon=True)
    thread.start()
    try:
        yield Hosts(loop, stack)
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
