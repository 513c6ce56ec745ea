"""`postrider bench accept`: the load generator by itself, for any server that speaks the contract."""

import json
from pathlib import Path
from typing import Any

import click
import uvloop

from app.cli.bench.load import Outcome, post_at_rate, post_at_will
from app.cli.bench.numbers import percentile
from app.cli.bench.wire import Server, read_callers


@click.command()
@click.option("--url", required=True, help="The server, as http://host:port.")
@click.option(
    "--keys-file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Who posts: one {"key": "…", "app": "…"} a line.',
)
@click.option("--connections", default=64, show_default=True, type=click.IntRange(min=1), help="Connections to keep.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(min=0.1), help="How long.")
@click.option("--warmup", default=0.5, show_default=True, type=click.FloatRange(min=0), help="Seconds before that.")
@click.option("--rate", type=click.FloatRange(min=0.1), help="Messages a second; as fast as it answers when left out.")
@click.option("--posted", type=click.Path(path_type=Path), help="With --rate: a file for message ids and their times.")
def accept(
    url: str,
    keys_file: Path,
    connections: int,
    seconds: float,
    warmup: float,
    rate: float | None,
    posted: Path | None,
) -> None:
    """Post messages of 1 KiB and print what was accepted, as JSON."""
    try:
        server, callers = Server.at(url), read_callers(keys_file)
    except (ValueError, TypeError, OSError) as error:
        raise click.UsageError(str(error)) from error
    if rate is None:
        run = post_at_will(server, callers, connections=connections, warmup=warmup, seconds=seconds)
    else:
        run = post_at_rate(server, callers, connections=connections, rate=rate, seconds=seconds)
    try:
        outcome = uvloop.run(run)
    except OSError as error:
        raise click.ClickException(f"{url}: {error}") from error
    if posted is not None:
        posted.write_text("".join(f"{name} {moment!r}\n" for name, moment in outcome.posted.items()))
    click.echo(json.dumps(_shown(outcome)))


def _shown(outcome: Outcome) -> dict[str, Any]:
    answered = sum(outcome.answers.values())
    return {
        "accepted": outcome.accepted,
        "seconds": outcome.seconds,
        "accepted_in_all": outcome.accepted_in_all,
        "accepted_per_second": outcome.accepted / outcome.seconds,
        "answers": {str(status): count for status, count in outcome.answers.items() if count},
        "lost_connections": outcome.lost,
        "generator_cpu_us": outcome.cpu_seconds / answered * 1e6 if answered else None,
        "answer_p50_ms": percentile(outcome.answer_seconds, 0.5, scale=1000),
        "answer_p99_ms": percentile(outcome.answer_seconds, 0.99, scale=1000),
    }


if __name__ == "__main__":
    accept()
