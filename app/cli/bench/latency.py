"""From POST to receipt, at half of the rate at which messages are accepted while they are delivered.

Half of what is accepted while nothing is delivered may be more than the same cores can deliver. Beside it, and not
judged: at half of what the aim for accepting asks, which is half of the empty route's rate.
"""

from app.cli.bench.bench import Bench
from app.cli.bench.numbers import percentile
from app.cli.bench.tools import Receipts
from app.cli.dev.errors import DevError

_CONNECTIONS = 256
_WARMUP_SECONDS = 1.0
_PATIENCE_SECONDS = 20.0
_AIM = 0.5


def measure(bench: Bench, url: str) -> None:
    """Adds the latencies, and what is accepted and delivered at the same time. API, at `url`, and workers must run."""
    for number in range(bench.plan.rounds):
        accepted, through = _flood(bench, url)
        bench.figures.add(accepted_while_delivering_per_second=accepted, through_per_second=through)
        aimed = _latency(bench, url, bench.figures["plain_per_second"] * _AIM / 2)
        bench.figures.add(**{f"{name}_at_half_the_aim": value for name, value in aimed.items()})
        bench.figures.add(**_latency(bench, url, accepted / 2))
        bench.say(f"latency, round {number + 1}: {_last(bench)} at {accepted / 2:,.0f}/s")


def _flood(bench: Bench, url: str) -> tuple[float, float]:
    """Messages accepted and received a second while they are posted as fast as they are answered."""
    words = [f"--seconds={bench.plan.accept_seconds}", f"--connections={_CONNECTIONS}"]
    answered = bench.load(url, *words)
    receipts = _received(bench, answered["accepted_in_all"])
    bench.receiver.reset()
    return answered["accepted_per_second"], receipts.per_second


def _latency(bench: Bench, url: str, rate: float) -> dict[str, float]:
    file = bench.machine.folder / "posted"
    seconds = bench.plan.latency_seconds + _WARMUP_SECONDS
    words = [f"--seconds={seconds}", f"--rate={rate}", f"--connections={_CONNECTIONS}", f"--posted={file}"]
    answered = bench.load(url, *words)
    posted = {name: float(moment) for name, moment in (line.split() for line in file.read_text().splitlines())}
    _received(bench, len(posted))
    received = bench.receiver.moments()
    bench.receiver.reset()
    first = min(posted.values()) + _WARMUP_SECONDS
    took = [received[name] - moment for name, moment in posted.items() if moment >= first]
    return {
        "latency_p50_ms": percentile(took, 0.5, scale=1000) or 0.0,
        "latency_p99_ms": percentile(took, 0.99, scale=1000) or 0.0,
        "answer_p50_ms": answered["answer_p50_ms"],
        "answer_p99_ms": answered["answer_p99_ms"],
    }


def _received(bench: Bench, count: int) -> Receipts:
    receipts = bench.receiver.wait_for(count, _PATIENCE_SECONDS)
    if receipts.distinct < count:
        raise DevError(f"of {count} messages that were accepted, {receipts.distinct} were delivered")
    return receipts


def _last(bench: Bench) -> str:
    return f"{bench.figures.last('latency_p50_ms'):.1f} ms, p99 {bench.figures.last('latency_p99_ms'):.1f} ms"
