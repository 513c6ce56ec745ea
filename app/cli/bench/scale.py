"""Messages delivered a second beside little and much that was stored before."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import mean, median

from app.cli.bench.bench import Bench
from app.cli.bench.seed import add_backlog, add_history
from app.cli.bench.world import Tenant, make_tenants

_DAYS = 30
_WARMUP = 500
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """A database with so much in it."""

    name: str
    tenants: list[Tenant]


def measure(bench: Bench) -> None:
    """Adds scale_spread. A database with workers of its own for each size, all there from beginning to end."""
    with ExitStack() as stack:
        places = [_prepare(bench, stack, size, number) for number, size in enumerate(bench.plan.stored, 1)]
        rounds = [_round(bench, places, number) for number in range(bench.plan.rounds)]
    # Each rate as a part of its round's, so that what the machine does besides cancels out.
    shares = [median(rates[place] / mean(rates) for rates in rounds) for place in range(len(places))]
    bench.figures.add(scale_spread=max(shares) / min(shares) - 1)


def _prepare(bench: Bench, stack: ExitStack, size: int, number: int) -> Place:
    name = f"bench_{size}"
    urls = bench.machine.database(name)
    tenants = make_tenants(urls.migrator, bench.machine.ring, bench.receiver.url)
    add_history(bench.machine.superuser(name), tenants, size, _DAYS)
    stack.enter_context(bench.machine.worker(urls, f"worker-{size}", redis_database=number))
    bench.say(f"scale: {size:,} messages are stored")
    place = Place(name, tenants)
    _drain(bench, place, _WARMUP)
    return place


def _round(bench: Bench, places: Sequence[Place], number: int) -> list[float]:
    turn = number % len(places)
    order = [*range(turn, len(places)), *range(turn)]
    rates = {place: _drain(bench, places[place], bench.plan.scale_backlog) for place in order}
    ordered = [rates[place] for place in range(len(places))]
    for size, rate in zip(bench.plan.stored, ordered, strict=True):
        bench.figures.add(**{f"delivered_per_second_beside_{size}": rate})
    bench.say(f"scale, round {number + 1}: {', '.join(f'{rate:,.0f}/s' for rate in ordered)}")
    return ordered


def _drain(bench: Bench, place: Place, backlog: int) -> float:
    add_backlog(bench.machine.superuser(place.name), place.tenants, backlog)
    receipts = bench.receiver.wait_for(backlog, _PATIENCE_SECONDS)
    bench.receiver.reset()
    return receipts.per_second
