"""The root of the command line."""

import click

from app.cli.audit import audit
from app.cli.bench.command import bench
from app.cli.clients import clients
from app.cli.dev.command import dev
from app.cli.keys import keys
from app.cli.orgs import orgs
from app.cli.processes import api, beat, migrate, worker
from app.cli.retention import retention
from app.cli.secrets import secrets


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Webhooks as a service: an event in, signed webhooks out."""


for command in (dev, api, worker, beat, migrate, orgs, keys, clients, bench, retention, secrets, audit):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="postrider")
