"""`postrider mail`: what was mailed while a folder stood in for a mail server."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import click

from app.domain.audit import plain

LONGEST = 100_000
FOLDER = click.option(
    "--folder",
    envvar="POSTRIDER_MAIL__FOLDER",
    default=".postrider/mail",
    show_default=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder; POSTRIDER_MAIL__FOLDER names it too.",
)


@click.group()
def mail() -> None:
    """List and show mails that were written into a folder (POSTRIDER_MAIL__FOLDER), the newest last."""


@mail.command(name="list")
@FOLDER
def list_(folder: Path) -> None:
    """Print the name, date, address and subject of each mail."""
    for file in _files(folder):
        message = _read(file)
        click.echo("\t".join([file.stem, *(plain(str(message[name])) for name in ("Date", "To", "Subject"))]))


@mail.command()
@click.argument("name", required=False)
@FOLDER
def show(name: str | None, folder: Path) -> None:
    """Print a mail by the NAME that `list` says, or the newest."""
    files = [one for one in _files(folder) if name in {None, one.stem}]
    if not files:
        raise click.ClickException("there is no such mail" if name else "there is no mail")
    message = _read(files[-1])
    for header in ("From", "To", "Subject", "Date"):
        click.echo(f"{header}: {plain(str(message[header]))}")
    click.echo()
    for line in message.get_content().splitlines():
        click.echo(plain(line, LONGEST))


def _files(folder: Path) -> list[Path]:
    # Their names are ids that rise with time.
    return sorted(folder.glob("*.eml"))


def _read(file: Path) -> EmailMessage:
    return message_from_bytes(file.read_bytes(), policy=default)
