"""`postrider retention`: what beat does each hour, done now."""

import click

from app.cli.configured import settings_or_exit
from app.cli.operator import in_one_line
from app.features.retention.operations import Report, retain
from app.kit.db import make_engine, make_sessions


@click.command()
def retention() -> None:
    """Make the partitions of the next days, and delete what is older than its retention."""
    with in_one_line():
        engine = make_engine(settings_or_exit().database.worker(), pool_size=1, name="postrider-retention")
        try:
            _print(retain(make_sessions(engine)))
        finally:
            engine.dispose()


def _print(report: Report) -> None:
    for name in report.dropped:
        click.echo(f"dropped {name}")
    click.echo(f"moved on {report.moved} payloads that deliveries still need")
    for table, count in report.deleted.items():
        click.echo(f"deleted {count} from {table}")
