"""Starts the processes of a deployment: each command becomes the process that it names."""

import runpy
import sys
from collections.abc import Sequence
from typing import Never

import click

from app.cli.configured import settings_or_exit

# Longer than proxies keep an idle connection: whoever sends into one that is just being closed gets no answer.
_KEEP_ALIVE_SECONDS = 75
_CELERY = ["celery", "--quiet", "-A", "worker.celery_app"]


@click.command()
@click.option("--host", default=["127.0.0.1"], show_default=True, multiple=True, help="An address to listen on.")
@click.option("--port", default=8000, show_default=True, help="The port to listen on.")
@click.option("--workers", default=2, show_default=True, help="Processes that serve requests.")
@click.option("--drain-seconds", default=30, show_default=True, help="How long requests may finish on SIGTERM.")
def api(host: tuple[str, ...], port: int, workers: int, drain_seconds: int) -> None:
    """Serve the HTTP API (gunicorn with uvicorn's worker)."""
    _become(*api_module(host, port, workers, drain_seconds))


def api_module(host: Sequence[str], port: int, workers: int, drain_seconds: int) -> list[str]:
    """The module that serves the API, with its words."""
    binds = [f"--bind=[{one}]:{port}" if ":" in one else f"--bind={one}:{port}" for one in host]
    waits = [f"--graceful-timeout={drain_seconds}", f"--keep-alive={_KEEP_ALIVE_SECONDS}"]
    kind = ["--worker-class=app.kit.protocol.Worker", f"--workers={workers}", "--no-control-socket"]
    words = ["--config=python:app.serving", "--logger-class=app.cli.server_log.Logger"]
    return ["gunicorn", *kind, *words, *waits, *binds, "app.main:create_app()"]


@click.command()
@click.option("--processes", default=2, show_default=True, help="Child processes that deliver.")
@click.option("--queues", default="", help="Queues to serve, by comma; those of its lanes when left out.")
def worker(processes: int, queues: str) -> None:
    """Deliver webhooks and run background tasks (Celery); POSTRIDER_DELIVERY__LANES says which of them."""
    from app.features.deliveries.pools import NoSuchQueueError, check_queues, queues_of  # noqa: PLC0415
    from app.models import Lane  # noqa: PLC0415  # a second that the API and beat spare

    lanes = [Lane[name] for name in settings_or_exit().delivery.lanes]
    chosen = [name.strip() for name in queues.split(",")] if queues else queues_of(lanes)
    try:
        check_queues(chosen, lanes)
    except NoSuchQueueError as error:
        raise click.BadParameter(str(error), param_hint="--queues") from None
    _become(*worker_module(processes, chosen))


def worker_module(processes: int, queues: Sequence[str] = ()) -> list[str]:
    """The module that delivers, with its words."""
    chosen = ["--queues", ",".join(queues)] if queues else []
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    return [*_CELERY, "worker", "--pool", "prefork", "--concurrency", str(processes), *quiet, *chosen]


@click.command()
@click.option("--schedule", type=click.Path(dir_okay=False), help="The file in which beat keeps its last runs.")
def beat(schedule: str | None) -> None:
    """Start the periodic tasks (Celery beat)."""
    file = ["--schedule", schedule] if schedule else []
    _become(*_CELERY, "beat", "--loglevel", "INFO", "--pidfile", "", *file)


def _become(module: str, *words: str) -> Never:
    """Says in a line what the settings lack, which the module itself would say in a hundred; then runs the module.

    It does so in this process: one of its own would import a third of it again.
    """
    settings_or_exit()
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()
