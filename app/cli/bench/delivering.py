"""Messages delivered a second from a backlog, beside bare aiohttp to the same receiver."""

from app.cli.bench.bench import DATABASE, Bench
from app.cli.bench.machine import Reading
from app.cli.bench.seed import add_backlog
from app.cli.bench.tools import Receipts, run_together
from app.cli.dev.errors import DevError

_IN_FLIGHT = 256
_SPENDERS = ("worker", "postgres", "redis")
_PATIENCE_SECONDS = 60.0
_MICRO = 1e6


def measure(bench: Bench) -> None:
    """Adds delivered_ratio, memory_growth, and what a delivered message costs. The workers must run."""
    _drain(bench, bench.plan.small_backlog, _PATIENCE_SECONDS)
    small = bench.machine.peaks("worker")
    for number in range(bench.plan.rounds):
        _round(bench)
        bench.say(f"delivering, round {number + 1}: {_last(bench)}")
    large = bench.machine.peaks("worker")
    bench.figures.add(memory_growth=max(large[name] / small[name] for name in small.keys() & large.keys()) - 1)
    bench.figures.add_memory(large)
    _count_statements(bench)


def _round(bench: Bench) -> None:
    before = bench.machine.read_meters(*_SPENDERS)
    ours = _drain(bench, bench.plan.backlog, bench.plan.drain_seconds)
    _add_costs(bench, bench.machine.read_meters(*_SPENDERS).since(before), ours.received)
    reference, cpu_seconds = _send(bench)
    bench.figures.add(
        delivered_per_second=ours.per_second,
        aiohttp_per_second=reference.per_second,
        delivered_ratio=ours.per_second / reference.per_second,
        cpu_us_per_aiohttp=cpu_seconds / reference.received * _MICRO,
        delivered_twice=ours.received - ours.distinct,
    )


def _drain(bench: Bench, backlog: int, seconds: float) -> Receipts:
    """What is received of a backlog until it is gone, or the time is over."""
    add_backlog(bench.machine.superuser(DATABASE), bench.tenants, backlog)
    receipts = bench.receiver.wait_for(backlog, seconds)
    if receipts.received < backlog:
        bench.forget_backlog()
        bench.receiver.wait_until_silent()
    bench.receiver.reset()
    return receipts


def _add_costs(bench: Bench, spent: Reading, delivered: int) -> None:
    bench.figures.add(
        **{f"cpu_us_of_{name}_per_delivered": spent.cpu[name] / delivered * _MICRO for name in _SPENDERS},
        cpu_us_per_delivered=sum(spent.cpu.values()) / delivered * _MICRO,
        wal_bytes_per_delivered=spent.wal / delivered,
        redis_commands_per_delivered=spent.commands / delivered,
    )


def _send(bench: Bench) -> tuple[Receipts, float]:
    words = [f"--url={bench.receiver.url}", f"--in-flight={_IN_FLIGHT}", f"--seconds={bench.plan.reference_seconds}"]
    results = run_together([["app.cli.bench.sender", *words]] * bench.machine.processes)
    return bench.receiver.reset(), sum(one["cpu_seconds"] for one in results)


def _count_statements(bench: Bench) -> None:
    with bench.machine.counting_statements() as counts:
        receipts = _drain(bench, bench.plan.small_backlog, _PATIENCE_SECONDS)
    if receipts.received < bench.plan.small_backlog:
        raise DevError(f"only {receipts.received} of {bench.plan.small_backlog} messages were delivered")
    bench.figures.add(statements_per_delivered=counts[0] / receipts.received)


def _last(bench: Bench) -> str:
    ours, aiohttp = bench.figures.last("delivered_per_second"), bench.figures.last("aiohttp_per_second")
    return f"{ours:,.0f}/s, bare aiohttp {aiohttp:,.0f}/s"
