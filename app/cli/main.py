"""The root of the command line."""

from pkgutil import resolve_name

import click

from app.kit.interpreter import collect_seldom
from app.kit.telemetry import logs

# Where each is found.
COMMANDS = {
    "dev": "app.cli.dev.command:dev",
    "api": "app.cli.processes:api",
    "worker": "app.cli.processes:worker",
    "beat": "app.cli.processes:beat",
    "migrate": "app.cli.migrating:migrate",
    "orgs": "app.cli.orgs:orgs",
    "users": "app.cli.users:users",
    "keys": "app.cli.keys:keys",
    "mail": "app.cli.mail:mail",
    "clients": "app.cli.clients:clients",
    "bench": "app.cli.bench.command:bench",
    "retention": "app.cli.retention:retention",
    "secrets": "app.cli.secrets:secrets",
    "signing-keys": "app.cli.signing_keys:signing_keys",
    "audit": "app.cli.audit:audit",
    "observe": "app.cli.observe.command:observe",
    "doctor": "app.cli.doctor:doctor",
    "probe": "app.cli.probe.command:probe",
}


class Commands(click.Group):
    """Imports a command when it is asked for: a pod that waits for the schema does without the rest of the product."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's
        """Their names, as help shows them."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's
        """The command of a name; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        collect_seldom()
        command: click.Command = resolve_name(COMMANDS[cmd_name])
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Webhooks as a service: an event in, signed webhooks out."""
    logs.install("cli")


if __name__ == "__main__":
    main(prog_name="postrider")
