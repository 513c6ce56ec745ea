"""`postrider probe`: an event of our own, sent through the installation and had back signed."""

import click

from app.cli.configured import settings_or_exit
from app.cli.probe.receiver import make_receiver
from app.cli.probe.sending import Installation, NotDeliveredError, send_event
from app.cli.probe.tenancy import lent_key
from app.cli.probe.undoing import undoing_when_told_to_end


@click.group()
def probe() -> None:
    """Send an event through the whole installation, and have it back."""


@probe.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8080, show_default=True, help="The port to listen on.")
def receive(host: str, port: int) -> None:
    """Take the probe's events and keep the last thousand, in memory."""
    with make_receiver(host, port) as server:
        server.serve_forever()


@probe.command()
@click.option("--url", required=True, help="Where the API answers: http://postrider-api.")
@click.option(
    "--receiver", required=True, help="Where the receiver takes events, by its address: http://10.96.0.80:8080."
)
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1), help="How long the event may take.")
def send(url: str, receiver: str, seconds: int) -> None:
    """Send an event from the probe's own organisation to the receiver; exits with 1 unless it comes back signed.

    The organisation is made at the first time. Its key lives as long as this command.
    """
    settings = settings_or_exit()
    with undoing_when_told_to_end(), lent_key() as key:
        try:
            took = send_event(Installation(url, settings.public_url, key), receiver, seconds)
        except NotDeliveredError as error:
            raise click.ClickException(str(error)) from error
    click.echo(f"an event was delivered in {took * 1000:.0f} ms, and its signature holds")
