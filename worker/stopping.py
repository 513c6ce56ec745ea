"""How the processes of a pool learn that their end begins."""

import mmap
import os


class Stopping:
    """A flag that a main process raises for the children that it forks.

    A byte of shared memory: what multiprocessing offers has a lock, which a child that is killed at the wrong moment
    takes with it, and then every other process waits for ever. In a child whose main process is gone it is raised.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)
        self._main = os.getpid()

    def set(self) -> None:
        """Raises it, in every process."""
        self._byte[0] = 1

    def is_set(self) -> bool:
        """Whether the end has begun."""
        return self._byte[0] == 1 or self.is_orphaned()

    def is_orphaned(self) -> bool:
        """Whether this is a child and its main process is gone."""
        return self._main not in {os.getpid(), os.getppid()}
