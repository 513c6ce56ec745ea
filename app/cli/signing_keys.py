"""`postrider signing-keys`: what access tokens and ID tokens are signed with."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import click

from app.cli.audit import operator
from app.cli.configured import settings_or_exit
from app.cli.operator import transaction
from app.features.oauth import keys
from app.kit.clock import utc_now
from app.kit.token_keys import Algorithm, make
from app.models import SigningKey

AHEAD = int(keys.PUBLISHED_AHEAD.total_seconds())
KEPT = int(keys.VERIFIES_ON.total_seconds())


@click.group("signing-keys")
def signing_keys() -> None:
    """List, rotate and revoke the keys that tokens are signed with."""


@signing_keys.command("list")
def list_() -> None:
    """Print the keys: kid, algorithm, state, since when it signs and until when it verifies."""
    now = utc_now()
    with transaction() as db:
        found = keys.every(db)
    for one in found:
        until = "-" if one.verifies_until is None else one.verifies_until.isoformat(timespec="seconds")
        signs = one.signs_from.isoformat(timespec="seconds")
        click.echo(f"{one.id.hex}\t{one.algorithm}\t{_state(one, found, now)}\t{signs}\t{until}")


@signing_keys.command()
@click.option(
    "--algorithm", type=click.Choice(Algorithm, case_sensitive=False), default=Algorithm.rs256, show_default=True
)
@click.option(
    "--ahead-seconds",
    type=click.IntRange(min=0),
    default=AHEAD,
    show_default=True,
    help="For how long it is published before it signs.",
)
@click.option(
    "--kept-seconds",
    type=click.IntRange(min=0),
    default=KEPT,
    show_default=True,
    help="For how long the keys so far verify after that.",
)
def rotate(algorithm: Algorithm, ahead_seconds: int, kept_seconds: int) -> None:
    """Publish a new key, and print its kid; beat does so every 30 days."""
    ring, ahead, kept = (
        settings_or_exit().secrets.ring(),
        timedelta(seconds=ahead_seconds),
        timedelta(seconds=kept_seconds),
    )
    key = make(algorithm)
    with transaction() as db:
        made = keys.rotate(db, ring, algorithm, key, operator(), ahead=ahead, kept=kept)
    click.echo(made.id.hex)


@signing_keys.command()
@click.argument("kid", type=click.UUID)
def revoke(kid: UUID) -> None:
    """End a key at once: within a second nothing that it signed is taken any more, and another one signs."""
    made = keys.fresh(Algorithm)
    with transaction() as db:
        revoked = keys.revoke(db, settings_or_exit().secrets.ring(), kid, made, operator())
    if not revoked:
        raise click.ClickException("there is no such key, or it is over")


def _state(key: SigningKey, among: Sequence[SigningKey], now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.verifies_until is not None and key.verifies_until <= now:
        return "over"
    if key.signs_from > now:
        return "published"
    ready = [one for one in among if one.algorithm == key.algorithm and one.signs_from <= now and not one.revoked_at]
    return "signs" if key is ready[-1] else "verifies"
