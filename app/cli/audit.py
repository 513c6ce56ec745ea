"""`postrider audit`: what was done, and whether the log of it still is what it was."""

import getpass
import os
import socket
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.orm import Session

from app.cli.configured import settings_or_exit
from app.cli.operator import TypeId, transaction
from app.domain.audit import Actor, Event, Outcome, Target
from app.domain.audit_chain import Fault, Keys, Seal, canonical
from app.domain.ids import encode
from app.features.audit import operations, queries
from app.features.audit.keys import public_keys

_ORGANISATION = click.argument("organisation", type=TypeId("org"))


class PublicKey(click.ParamType[tuple[str, Ed25519PublicKey]]):
    """A key's id and its public half, as `postrider audit public-keys` prints them."""

    name = "id=base64"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Ed25519PublicKey]:
        """The two parts; a usage error for anything else."""
        key_id, _, text = str(value).partition("=")
        try:
            return key_id, Ed25519PublicKey.from_public_bytes(b64decode(text, validate=True))
        except ValueError:
            self.fail(f"{value!r} is no key id, '=' and base64 of 32 bytes", param, ctx)


@click.group()
def audit() -> None:
    """Verify and export the audit log."""


@audit.command()
@click.argument("organisation", type=TypeId("org"), required=False)
@click.option(
    "--anchors", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Anchors kept elsewhere: a file."
)
@click.option("--public-key", "given", type=PublicKey(), multiple=True, help="Instead of the key ring's; repeatable.")
@click.pass_context
def verify(
    context: click.Context, organisation: UUID | None, anchors: Path | None, given: tuple[tuple[str, Any], ...]
) -> None:
    """Follow the chain of one organisation or of all; exit 1 with the first bad sequence.

    A log that was cut short at its end is found out only by anchors that were kept outside of the database.
    """
    keys = dict(given) or public_keys(settings_or_exit().secrets.ring())
    anchored = _read_anchors(anchors)
    with _reading() as db:
        chosen = [organisation] if organisation else {*db.scalars(queries.organisations()), *anchored}
        faults = [_verify_one(db, one, keys, anchored.get(one, ())) for one in sorted(chosen)]
    if any(faults):
        context.exit(1)


def _verify_one(db: Session, organisation_id: UUID, keys: Keys, anchors: Iterable[Seal]) -> Fault | None:
    fault = operations.verify(db, organisation_id, keys, anchors)
    said = f"BAD at sequence {fault.sequence}: {fault.reason}" if fault else "as it was sealed"
    click.echo(f"{encode('org', organisation_id)}\t{said}")
    return fault


def _read_anchors(file: Path | None) -> Mapping[UUID, list[Seal]]:
    found: dict[UUID, list[Seal]] = {}
    try:
        for line in file.read_text().splitlines() if file else ():
            one = Seal.of_anchor(line)
            found.setdefault(UUID(one.organisation_id), []).append(one)
    except ValueError as error:
        raise click.UsageError(f"{file}: {error}") from error
    return found


@audit.command()
@_ORGANISATION
def export(organisation: UUID) -> None:
    """Print the sealed events, a line of JSON each, as verify_export.py reads them."""
    with transaction() as db:
        note(db, organisation, "audit.exported", Target("audit"))
    with _reading() as db:
        for one in operations.records(db, organisation):
            line = {"sequence": one.sequence, "hash": one.hash.hex(), "event": one.event}
            click.echo(canonical(line))


@audit.command()
@_ORGANISATION
def anchors(organisation: UUID) -> None:
    """Print the seals, a line of JSON each, to be kept where the database's owner cannot change them."""
    with _reading() as db:
        for one in operations.seals(db, organisation):
            click.echo(one.anchor())


@audit.command("public-keys")
def public_keys_() -> None:
    """Print what verifies the seals: each key's id and its public half. Keep them longer than the keys."""
    for key_id, key in public_keys(settings_or_exit().secrets.ring()).items():
        click.echo(f"{key_id}={b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()}")


@contextmanager
def _reading() -> Iterator[Session]:
    """A transaction that sees one moment, whatever is sealed meanwhile."""
    with transaction() as db:
        db.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield db


def operator() -> Actor:
    """Who uses the command line: an account of a machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have a number alone.
        name = str(os.getuid())
    return Actor("operator", name, f"{name}@{socket.gethostname()}")


def note(
    db: Session,
    organisation_id: UUID,
    action: str,
    target: Target,
    *,
    outcome: Outcome = Outcome.success,
    **details: Any,  # noqa: ANN401 whatever JSON says
) -> None:
    """Writes down what the operator does, in the transaction that does it."""
    operations.record(db, Event(organisation_id, action, operator(), target, outcome=outcome, details=details))
