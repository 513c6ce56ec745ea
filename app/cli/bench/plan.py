"""How much is measured, and what must come of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds and sizes; times are in seconds."""

    name: str
    rounds: int
    accept_seconds: float
    feed_seconds: float
    small_backlog: int
    backlog: int
    drain_seconds: float
    reference_seconds: float
    latency_seconds: float
    stored: tuple[int, ...]
    scale_backlog: int
    scale_seconds: float
    telemetry_seconds: float
    telemetry_backlog: int


FULL = Plan(
    name="full",
    rounds=5,
    accept_seconds=4.0,
    feed_seconds=2.0,
    small_backlog=5_000,
    backlog=50_000,
    drain_seconds=15.0,
    reference_seconds=4.0,
    latency_seconds=6.0,
    stored=(10_000, 100_000, 1_000_000),
    scale_backlog=10_000,
    scale_seconds=6.0,
    telemetry_seconds=2.0,
    telemetry_backlog=5_000,
)
SHORT = Plan(
    name="short",
    rounds=3,
    accept_seconds=1.5,
    feed_seconds=1.0,
    small_backlog=1_000,
    backlog=5_000,
    drain_seconds=3.0,
    reference_seconds=1.0,
    latency_seconds=3.0,
    stored=(1_000, 10_000),
    scale_backlog=2_000,
    scale_seconds=2.0,
    telemetry_seconds=1.0,
    telemetry_backlog=2_000,
)


@dataclass(frozen=True, slots=True)
class Floor:
    """A bound that a figure must hold: at least, or less than."""

    bound: float
    at_least: bool

    def holds(self, value: float) -> bool:
        """Whether it does."""
        return value >= self.bound if self.at_least else value < self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<'} {self.bound:g}"


FLOORS = {
    "accepted_ratio": Floor(0.45, at_least=True),
    "ingest_ratio": Floor(0.7, at_least=True),
    "access_cost": Floor(0.15, at_least=False),
    "delivered_ratio": Floor(0.5, at_least=True),
    "latency_p50_ms": Floor(15, at_least=False),
    "latency_p99_ms": Floor(100, at_least=False),
    "scale_spread": Floor(0.15, at_least=False),
    "memory_growth": Floor(0.15, at_least=False),
    "telemetry_cost_us_per_accepted": Floor(100, at_least=False),
    "telemetry_cost_us_per_delivered": Floor(60, at_least=False),
}
