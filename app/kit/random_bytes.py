"""Random bytes, fetched many at a time."""

import os

_AT_ONCE = 512


class RandomBytes:
    """Gives `size` random bytes at a time.

    To ask the system for them gives other threads the interpreter, and getting it back takes longer than all the rest.
    A process that is forked has none of its parent's.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces = list[bytes]()
        os.register_at_fork(after_in_child=self._pieces.clear)

    def __call__(self) -> bytes:
        """Bytes that nobody has had."""
        while True:
            try:
                return self._pieces.pop()
            except IndexError:
                many = os.urandom(self._size * _AT_ONCE)
                self._pieces += [many[at : at + self._size] for at in range(0, len(many), self._size)]
