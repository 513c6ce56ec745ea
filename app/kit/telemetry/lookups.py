"""Questions to what a process remembers by itself, counted where a counter would cost more than the question."""

from app.kit.telemetry.metrics import CACHE


class Lookups:
    """Of one cache, in one thread. Add to `hits` where it knew; they are told with the next miss, or by `tell`."""

    __slots__ = ("_hit", "_miss", "hits")

    def __init__(self, cache: str) -> None:
        self._hit, self._miss = CACHE.labels(cache, "hit"), CACHE.labels(cache, "miss")
        self.hits = 0

    def miss(self) -> None:
        """It did not know."""
        self._miss.inc()
        self.tell()

    def tell(self) -> None:
        """Has the hits so far seen by whoever reads the metrics."""
        hits, self.hits = self.hits, 0
        self._hit.inc(hits)
