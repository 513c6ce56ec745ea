"""What logs, traces, metrics and reports of errors cost of a processor, each beside the same with all of them off.

The same processes run from beginning to end, one for each choice of signals, and take turns; of each the cheapest turn
counts. Spans are taken by somebody, metrics are read every other second; reports could go somewhere, but nothing fails.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from app.cli.bench.bench import Bench
from app.cli.bench.scraper import scraping
from app.cli.bench.seed import add_backlog
from app.cli.bench.signals import EVERY, OFF, Signals
from app.cli.bench.tools import Receiver
from app.cli.bench.world import Tenant, make_tenants
from app.cli.dev.errors import DevError
from app.cli.dev.ports import any_free

_CONNECTIONS = 32
_DATABASE = "telemetry"
_PATIENCE_SECONDS = 60.0
# Until spans have left and results are recorded.
_AFTERWARDS_SECONDS = 1.0
_MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Side:
    """Processes with their choice of signals: their name, and a turn of them, which was about so many messages.

    Metrics are read from their ports.
    """

    chosen: Signals
    name: str
    ports: Sequence[int]
    turn: Callable[[], int]


def measure(bench: Bench) -> None:
    """Adds telemetry_cost_us_per_accepted and _per_delivered, what each signal adds, and what whole traces add."""
    takers = Receiver(any_free())
    with bench.machine.running("takers", "app.cli.bench.receiver", f"--port={takers.port}"):
        _measure(bench, takers, "accepted", _accepting)
        bench.forget_backlog()
        _measure(bench, takers, "delivered", _delivering)


Prepare = Callable[[Bench, Receiver, ExitStack], list[Side]]


def _measure(bench: Bench, takers: Receiver, what: str, prepare: Prepare) -> None:
    with ExitStack() as stack:
        sides = prepare(bench, takers, stack)
        for side in sides:
            # What is done for the first time costs more.
            side.turn()
        rounds = []
        for number in range(bench.plan.rounds):
            rounds.append(dict(_round(bench, takers, sides, number)))
            bench.figures.add(**{f"cpu_us_per_{what}_without_telemetry": rounds[-1][OFF.name]})
            bench.say(f"telemetry, round {number + 1}: {_shown(_least(rounds))} at least for a message that is {what}")
        _add(bench, what, _least(rounds))


def _round(bench: Bench, takers: Receiver, sides: Sequence[Side], number: int) -> Iterator[tuple[str, float]]:
    turn = number % len(sides)
    for side in (*sides[turn:], *sides[:turn]):
        takers.reset()
        before = bench.machine.usage.cpu_seconds(side.name)
        with scraping(side.ports):
            count = side.turn()
        time.sleep(_AFTERWARDS_SECONDS)
        yield side.chosen.name, (bench.machine.usage.cpu_seconds(side.name) - before) / count * _MICRO
        _refuse_wrong_spans(side, takers)


def _refuse_wrong_spans(side: Side, takers: Receiver) -> None:
    has_sent = side.chosen.name in takers.moments()
    if has_sent is not side.chosen.traces:
        raise DevError(
            f"{side.name} has {'' if has_sent else 'not '}sent spans, though traces are {side.chosen.traces}"
        )


def _least(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What each side cost where it was disturbed least: whatever else a machine does makes CPU time longer only."""
    return {side: min(costs[side] for costs in rounds) for side in (one.name for one in EVERY)}


def _add(bench: Bench, what: str, costs: Mapping[str, float]) -> None:
    added = {f"{name}_cost_us_per_{what}": cost - costs[OFF.name] for name, cost in costs.items() if name != OFF.name}
    bench.figures.add(**added)


def _accepting(bench: Bench, takers: Receiver, stack: ExitStack) -> list[Side]:
    """APIs that each accept as fast as they can from few callers, so that all commit batches of the same size."""
    return [_api(bench, takers, stack, one) for one in EVERY]


def _api(bench: Bench, takers: Receiver, stack: ExitStack, chosen: Signals) -> Side:
    name, ports = f"api-{chosen.name}", chosen.ports(bench.machine.processes)
    more = chosen.environment(takers, ports)
    url = stack.enter_context(bench.machine.api(bench.urls, name, more, silent=not chosen.metrics))
    return Side(chosen, name, ports, partial(_post, bench, url))


def _post(bench: Bench, url: str) -> int:
    result = bench.load(url, f"--connections={_CONNECTIONS}", f"--seconds={bench.plan.telemetry_seconds}")
    if set(result["answers"]) != {"202"} or result["lost_connections"]:
        raise DevError(f"{url} answered {result['answers']}, {result['lost_connections']} connections were lost")
    accepted: int = result["accepted_in_all"]
    return accepted


def _delivering(bench: Bench, takers: Receiver, stack: ExitStack) -> list[Side]:
    """Workers, each on a database of their own with the same tenants, where they deliver backlogs."""
    machine, original = bench.machine, f"{_DATABASE}_{OFF.name}"
    urls = {OFF.name: machine.database(original)}
    tenants = make_tenants(urls[OFF.name].migrator, machine.ring, bench.receiver.url)
    for chosen in EVERY[1:]:
        urls[chosen.name] = machine.clone(original, f"{_DATABASE}_{chosen.name}")
    sides = []
    for number, chosen in enumerate(EVERY, 1):
        # The workers' main process has one too.
        name, ports = f"worker-{chosen.name}", chosen.ports(1 + machine.processes)
        more = chosen.environment(takers, ports)
        silent = not chosen.metrics
        stack.enter_context(machine.worker(urls[chosen.name], name, number, more, silent=silent))
        sides.append(
            Side(chosen, name, ports, partial(_drain, bench, f"{_DATABASE}_{chosen.name}", tenants, chosen.sampled))
        )
    return sides


def _drain(bench: Bench, database: str, tenants: Sequence[Tenant], sampled: float) -> int:
    backlog = bench.plan.telemetry_backlog
    add_backlog(bench.machine.superuser(database), tenants, backlog, sampled=sampled)
    received = bench.receiver.wait_for(backlog, _PATIENCE_SECONDS).received
    bench.receiver.reset()
    if received < backlog:
        raise DevError(f"only {received} of {backlog} messages were delivered")
    return backlog


def _shown(costs: Mapping[str, float]) -> str:
    off = costs[OFF.name]
    others = (f"{name} {cost - off:+.0f}" for name, cost in costs.items() if name != OFF.name)
    return f"{off:.0f} µs, {', '.join(others)}"
