"""The root of the command line."""

import click

from app.cli.audit import audit
from app.cli.bench.command import bench
from app.cli.clients import clients
from app.cli.dev.command import dev
from app.cli.doctor import doctor
from app.cli.keys import keys
from app.cli.mail import mail
from app.cli.migrating import migrate
from app.cli.observe.command import observe
from app.cli.orgs import orgs
from app.cli.probe.command import probe
from app.cli.processes import api, beat, worker
from app.cli.retention import retention
from app.cli.secrets import secrets
from app.cli.signing_keys import signing_keys
from app.cli.users import users
from app.kit.telemetry import logs


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Webhooks as a service: an event in, signed webhooks out."""
    logs.install("cli")


COMMANDS = (
    dev,
    api,
    worker,
    beat,
    migrate,
    orgs,
    users,
    keys,
    mail,
    clients,
    bench,
    retention,
    secrets,
    signing_keys,
    audit,
    observe,
    doctor,
    probe,
)
for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="postrider")
