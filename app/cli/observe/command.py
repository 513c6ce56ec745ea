"""`postrider observe`: what looks at an installation, made from the data in this folder."""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from app.cli.dev.errors import DevError
from app.cli.dev.folder import Folder
from app.cli.dev.interrupts import Interrupts, Stopped, end_with_parent
from app.cli.dev.supervisor import Supervisor
from app.cli.observe.answers import NoAnswerError, Prometheus, Span
from app.cli.observe.dashboards import dashboard_files
from app.cli.observe.prometheus import Stores, Watch, pages, programs
from app.cli.observe.rules import Links, rule_files

RULES = Path("charts/postrider/rules")
DASHBOARDS = Path("charts/postrider/dashboards")
PICTURES = Path(".github/pictures")
_Command = TypeVar("_Command", bound=Callable[..., None])


def _into(folder: Path) -> Callable[[_Command], _Command]:
    """Where a command writes."""
    there = click.Path(path_type=Path, exists=True, file_okay=False)
    return click.option("--folder", default=folder, show_default=True, type=there, help="Where to write them.")


@click.group()
def observe() -> None:
    """Make the rules and dashboards that watch an installation."""


@observe.command()
@_into(RULES)
@click.option(
    "--runbooks", default=Links().runbooks, show_default=True, help="The URL of the folder with the runbooks."
)
@click.option("--grafana", default=Links().grafana, help="The URL of Grafana, without a slash at its end.")
def rules(folder: Path, runbooks: str, grafana: str) -> None:
    """Write Prometheus' rules, with links to runbooks and dashboards."""
    for name, text in rule_files(Links(runbooks, grafana)).items():
        (folder / name).write_text(text)
        click.echo(folder / name)


@observe.command()
@_into(DASHBOARDS)
def dashboards(folder: Path) -> None:
    """Write Grafana's dashboards."""
    for name, text in dashboard_files().items():
        (folder / name).write_text(text)
        click.echo(folder / name)


@observe.command()
@click.option("--prometheus", default="http://localhost:9090", show_default=True, help="Whom to ask.")
@_into(PICTURES)
@click.option("--minutes", default=30.0, show_default=True, help="How long a time they show.")
@click.option("--end", type=click.DateTime(["%Y-%m-%dT%H:%M:%S"]), help="When that ends (UTC); now when left out.")
@click.option("--choose", "chosen", nargs=2, multiple=True, metavar="VARIABLE VALUE", help="As on the dashboard.")
def pictures(
    prometheus: str, folder: Path, minutes: float, end: datetime | None, chosen: tuple[tuple[str, str], ...]
) -> None:
    """Draw the dashboards from what a running Prometheus answers."""
    try:
        from app.cli.observe.pictures import picture  # noqa: PLC0415 what draws is not there in production
    except ImportError as error:
        msg = f"{error.name} is missing, which only development machines have: pip install -r requirements-dev.lock"
        raise click.ClickException(msg) from error
    until = end.replace(tzinfo=UTC).timestamp() if end else time.time()
    span = Span(until - minutes * 60, until)
    try:
        asked = Prometheus(prometheus, span, dict(chosen))
        for name, text in dashboard_files().items():
            file = (folder / name).with_suffix(".png")
            file.write_bytes(picture(json.loads(text), asked))
            click.echo(file)
    except NoAnswerError as error:
        raise click.ClickException(str(error)) from error


@observe.command()
@click.option("--data", default=".postrider", show_default=True, type=click.Path(path_type=Path), help="The folder.")
@click.option("--with-parent", is_flag=True, help="End when the process that started this one ends.")
def run(data: Path, with_parent: bool) -> None:
    """Start Prometheus, with the rules, on what `postrider dev` runs in a folder."""
    if with_parent:
        end_with_parent()
    interrupts = Interrupts()
    interrupts.install()
    try:
        _run(Folder(data), interrupts)
    except DevError as error:
        click.echo(f"postrider: {error}", err=True)
        sys.exit(error.exit_code)
    except Stopped:
        click.echo("stopped")


def _run(folder: Folder, interrupts: Interrupts) -> None:
    if not folder.ready.exists():
        raise DevError(f"nothing runs in {folder.path}: start it by `make run`")
    own = folder.path / "observe"
    own.mkdir(exist_ok=True, mode=0o700)
    stores = Stores(**json.loads(folder.stores.read_text()))
    watch = Watch(own, folder.targets, sorted(RULES.glob("*.yaml")), stores)
    supervisor = Supervisor(own, interrupts, click.echo)
    try:
        for program in programs(watch):
            supervisor.start(program)
        _say_where((own / "url").read_text())
        supervisor.keep()
    finally:
        interrupts.ignore()
        supervisor.stop()


def _say_where(url: str) -> None:
    at = pages(url)
    click.echo(f"""
Prometheus  {url}
Alerts      {at["alerts"]}
Rules       {at["rules"]}
Targets     {at["targets"]} (a part has more ports than processes: those that nobody serves are down)
Dashboards  {DASHBOARDS}/*.json, to be imported into Grafana with {url} as their data source
Ctrl-C stops it.""")
