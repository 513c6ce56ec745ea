"""From POST to receipt, at half of the rate at which messages are accepted."""

from app.cli.bench.bench import Bench
from app.cli.bench.numbers import percentile
from app.cli.dev.errors import DevError

_CONNECTIONS = 256
_WARMUP_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0


def measure(bench: Bench, url: str) -> None:
    """Adds latency_p50_ms and latency_p99_ms. The API, at `url`, and the workers must run."""
    rate = bench.figures["accepted_per_second"] / 2
    for number in range(bench.plan.rounds):
        _round(bench, url, rate)
        bench.say(f"latency, round {number + 1}: {_last(bench)} at {rate:,.0f}/s")


def _round(bench: Bench, url: str, rate: float) -> None:
    file = bench.machine.folder / "posted"
    seconds = bench.plan.latency_seconds + _WARMUP_SECONDS
    words = [f"--seconds={seconds}", f"--rate={rate}", f"--connections={_CONNECTIONS}", f"--posted={file}"]
    answered = bench.load(url, *words)
    posted = {name: float(moment) for name, moment in (line.split() for line in file.read_text().splitlines())}
    received = _received(bench, len(posted))
    first = min(posted.values()) + _WARMUP_SECONDS
    took = [received[name] - moment for name, moment in posted.items() if moment >= first]
    bench.figures.add(
        latency_p50_ms=percentile(took, 0.5, scale=1000) or 0.0,
        latency_p99_ms=percentile(took, 0.99, scale=1000) or 0.0,
        answer_p50_ms=answered["answer_p50_ms"],
        answer_p99_ms=answered["answer_p99_ms"],
    )


def _received(bench: Bench, count: int) -> dict[str, float]:
    receipts = bench.receiver.wait_for(count, bench.plan.latency_seconds + _PATIENCE_SECONDS)
    if receipts.distinct < count:
        raise DevError(f"of {count} messages that were accepted, {receipts.distinct} were delivered")
    moments = bench.receiver.moments()
    bench.receiver.reset()
    return moments


def _last(bench: Bench) -> str:
    return f"{bench.figures.last('latency_p50_ms'):.1f} ms, p99 {bench.figures.last('latency_p99_ms'):.1f} ms"
