"""Messages accepted a second, beside an empty route, asyncpg alone and an open door; nothing is delivered meanwhile."""

import os
from collections.abc import Sequence
from typing import Any

from app.cli.bench.bench import Bench
from app.cli.bench.tools import run_together
from app.cli.bench.world import BROKER_VARIABLE, DATABASE_VARIABLE, TENANTS_VARIABLE
from app.cli.dev.errors import DevError

_CONNECTIONS = 256
_TURNS = 2
_MICRO = 1e6


def measure(bench: Bench) -> None:
    """Adds accepted_ratio and ingest_ratio, and what an accepted message costs."""
    machine, references = bench.machine, _environment(bench)
    with (
        machine.api(bench.urls) as ours,
        machine.plain("plain", "app.cli.bench.plain:app") as plain,
        machine.plain("asyncpg", "app.cli.bench.group_commit:app", references) as asyncpg,
        machine.plain("bare", "app.cli.bench.bare:make()", references, "app.kit.protocol.Worker") as bare,
    ):
        for number in range(bench.plan.rounds):
            _round(bench, ours, plain, asyncpg)
            bench.say(f"accepting, round {number + 1}: {_last(bench)}")
        for number in range(_TURNS * bench.plan.rounds):
            _take_turns(bench, [("guarded", "api", ours), ("bare", "bare", bare)][:: -1 if number % 2 else 1])
        bench.say(f"accepting: access costs {bench.figures['access_cost']:.1%} of a message")
        bench.figures.add_memory(machine.peaks("api"))
    bench.forget_backlog()


def _round(bench: Bench, ours: str, plain: str, asyncpg: str) -> None:
    accepted = _run(bench, ours, "api", "accepted")
    empty = _run(bench, plain, "plain", "plain")
    grouped = _run(bench, asyncpg, "asyncpg", "asyncpg_http")
    alone = sum(one["per_second"] for one in _feed(bench))
    bench.figures.add(
        accepted_ratio=accepted / empty, ingest_ratio=accepted / grouped, asyncpg_without_http_per_second=alone
    )


def _take_turns(bench: Bench, sides: Sequence[tuple[str, str, str]]) -> None:
    """What it costs to let callers in, at half of the rate that is accepted: full batches would not be the same.

    PostgreSQL runs the same statements for both, and what it spends on them differs by more than access costs.
    """
    rate = bench.figures["accepted_per_second"] / 2
    for name, process, url in sides:
        _run(bench, url, process, name, f"--rate={rate}")
    guarded, bare = (bench.figures.last(f"cpu_us_per_{name}") for name in ("guarded", "bare"))
    bench.figures.add(access_cost=(guarded - bare) / (bare + bench.figures.last("cpu_us_of_postgres_per_bare")))


def _run(bench: Bench, url: str, process: str, name: str, *words: str) -> float:
    before = bench.machine.read_meters(process, "postgres")
    result = bench.load(url, f"--seconds={bench.plan.accept_seconds}", f"--connections={_CONNECTIONS}", *words)
    spent = bench.machine.read_meters(process, "postgres").since(before)
    _refuse_failures(url, result)
    served = result["accepted_in_all"]
    per_second: float = result["accepted_per_second"]
    bench.figures.add(
        **{
            f"{name}_per_second": per_second,
            f"cpu_us_per_{name}": spent.cpu[process] / served * _MICRO,
            f"cpu_us_of_postgres_per_{name}": spent.cpu["postgres"] / served * _MICRO,
            f"wal_bytes_per_{name}": spent.wal / served,
        }
    )
    return per_second


def _refuse_failures(url: str, result: Any) -> None:  # noqa: ANN401 JSON
    if set(result["answers"]) != {"202"} or result["lost_connections"]:
        raise DevError(f"{url} answered {result['answers']}, {result['lost_connections']} connections were lost")


def _feed(bench: Bench) -> list[Any]:
    processes = bench.machine.processes
    words = [f"--producers={_CONNECTIONS // processes}", f"--seconds={bench.plan.feed_seconds}"]
    return run_together([["app.cli.bench.group_commit", *words]] * processes, {**os.environ, **_environment(bench)})


def _environment(bench: Bench) -> dict[str, str]:
    return {
        DATABASE_VARIABLE: bench.urls.api,
        TENANTS_VARIABLE: str(bench.tenants_file),
        BROKER_VARIABLE: bench.machine.redis_url,
    }


def _last(bench: Bench) -> str:
    ours, plain, asyncpg = (bench.figures.last(f"{one}_per_second") for one in ("accepted", "plain", "asyncpg_http"))
    return f"{ours:,.0f}/s, the empty route {plain:,.0f}/s, asyncpg {asyncpg:,.0f}/s"
