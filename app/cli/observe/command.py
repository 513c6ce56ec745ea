"""`postrider observe`: what looks at an installation, made from the data in this folder."""

from pathlib import Path

import click

from app.cli.observe.dashboards import dashboard_files
from app.cli.observe.rules import Links, rule_files

RULES = Path("charts/postrider/rules")
DASHBOARDS = Path("charts/postrider/dashboards")


@click.group()
def observe() -> None:
    """Make the rules and dashboards that watch an installation."""


@observe.command()
@click.option(
    "--folder",
    default=RULES,
    show_default=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where to write them.",
)
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
@click.option(
    "--folder",
    default=DASHBOARDS,
    show_default=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where to write them.",
)
def dashboards(folder: Path) -> None:
    """Write Grafana's dashboards."""
    for name, text in dashboard_files().items():
        (folder / name).write_text(text)
        click.echo(folder / name)
