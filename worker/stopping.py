"""How the processes of a pool learn that their end begins."""

import mmap


class Stopping:
    """A flag that a main process raises for the children that it forks.

    A byte of shared memory: what multiprocessing offers has a lock, which a child that is killed at the wrong moment
    takes with it, and then every other process waits for ever.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Raises it, in every process."""
        self._byte[0] = 1

    def is_set(self) -> bool:
        """Whether the end has begun."""
        return self._byte[0] == 1
