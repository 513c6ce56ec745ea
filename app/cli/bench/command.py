"""`postrider bench`: measures, prints a table, and says by its exit status whether every floor holds."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from app.cli.bench import accepting, delivering, latency, scale, telemetry
from app.cli.bench.accept import accept
from app.cli.bench.bench import Bench, prepare
from app.cli.bench.figures import Figures
from app.cli.bench.machine import machine
from app.cli.bench.plan import FULL, SHORT, Plan
from app.cli.bench.tokens import tokens
from app.cli.bench.tools import Receiver
from app.cli.dev.errors import DevError
from app.cli.dev.folder import Folder
from app.cli.dev.interrupts import Interrupts, Stopped
from app.cli.dev.ports import any_free

_PHASES = ("accept", "deliver", "latency", "scale", "telemetry")


@click.group(invoke_without_command=True)
@click.option("--short", is_flag=True, help="Fewer and smaller rounds, about four minutes.")
@click.option("--floors/--no-floors", default=True, help="Whether a missed floor makes the exit status 1.")
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Of the API, the workers and each reference.",
)
@click.option("--only", multiple=True, type=click.Choice(_PHASES), help="Measure this alone; latency needs accept.")
@click.option("--data", default=".postrider", show_default=True, type=click.Path(path_type=Path), help="The folder.")
@click.pass_context
def bench(
    context: click.Context, *, short: bool, floors: bool, processes: int, only: tuple[str, ...], data: Path
) -> None:
    """Measure the speed beside plain references, on servers of its own.

    The table is also written to bench.json in the folder. Use a machine that does nothing else. One process of each is
    right for two cores: database, broker, generator and receiver are at work beside it.
    """
    if context.invoked_subcommand is not None:
        return
    interrupts = Interrupts()
    interrupts.install()
    try:
        figures = _run(Folder(data), SHORT if short else FULL, only or _PHASES, processes)
    except DevError as error:
        click.echo(f"postrider: {error}", err=True)
        sys.exit(error.exit_code)
    except Stopped:
        sys.exit("stopped")
    if floors and figures.missed():
        sys.exit(f"missed: {', '.join(figures.missed())}")


bench.add_command(accept)
bench.add_command(tokens)


def _run(data: Folder, plan: Plan, phases: tuple[str, ...], processes: int) -> Figures:
    _require_rates(phases)
    folder = Folder(data.path / "bench")
    say = _clocked()
    with folder.locked(), ExitStack() as stack:
        say("starting PostgreSQL and Redis")
        here = stack.enter_context(machine(folder.path, processes))
        receiver = Receiver(any_free())
        stack.enter_context(here.running("receiver", "app.cli.bench.receiver", f"--port={receiver.port}"))
        made = prepare(here, plan, receiver, say)
        _measure(made, phases)
        made.figures.save(data.path / "bench.json")
        click.echo("\n" + "\n".join(made.figures.table()))
        return made.figures


def _require_rates(phases: tuple[str, ...]) -> None:
    if "latency" in phases and "accept" not in phases:
        raise DevError("latency is measured at rates that accept finds: --only accept --only latency")


def _measure(made: Bench, phases: tuple[str, ...]) -> None:
    if "accept" in phases:
        accepting.measure(made)
    if "deliver" in phases or "latency" in phases:
        with made.machine.worker(made.urls):
            _measure_workers(made, phases)
    if "scale" in phases:
        scale.measure(made)
    if "telemetry" in phases:
        telemetry.measure(made)


def _measure_workers(made: Bench, phases: tuple[str, ...]) -> None:
    if "deliver" in phases:
        delivering.measure(made)
    if "latency" in phases:
        with made.machine.api(made.urls) as url:
            latency.measure(made, url)


def _clocked() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda text: click.echo(f"{time.monotonic() - began:5.0f} s  {text}")
