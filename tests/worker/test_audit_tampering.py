# ruff: noqa: S608  # the statements are our own
"""Whoever owns the database may change the audit log, but not unseen: both verifiers name the first bad sequence."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.cli.main import main
from app.domain.audit import Actor, Event, Target, Where
from app.domain.ids import encode
from app.features.audit import operations, verify_export
from app.kit.clock import new_id
from app.kit.encryption import KeyRing
from tests.lines import fields_of
from worker.audit import Sealer

SEALS, EACH = 3, 4
SCRIPT = Path(verify_export.__file__)
KEPT = ("audit_events", "audit_chain", "audit_seals")


@dataclass
class Log:
    """An organisation's log of twelve events under three seals, its anchors, and the owner's way to its rows."""

    organisation: UUID
    owner: psycopg.Connection
    environment: Mapping[str, str]
    folder: Path

    @property
    def id(self) -> str:
        return encode("org", self.organisation)

    @property
    def anchors(self) -> Path:
        return self.folder / f"{self.id}.jsonl"

    def tamper(self, *statements: str) -> None:
        """Changes rows as somebody who owns the tables can."""
        for table in KEPT:
            self.owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        for statement in statements:
            self.owner.execute(statement.encode(), {"org": self.organisation})
        for table in KEPT:
            self.owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())

    def run(self, *words: str) -> tuple[int, str]:
        done = CliRunner(env=self.environment).invoke(main, ["audit", *words])
        return done.exit_code, done.output

    def verify(self, *options: str) -> int | None:
        """The first bad sequence by the command, None without any."""
        code, said = self.run("verify", self.id, *options)
        return _sequence(code, said)

    def verify_export(self) -> int | None:
        """The first bad sequence by the script that stands alone, on what is exported now and the anchors kept."""
        events = self.folder / "events.jsonl"
        code, said = self.run("export", self.id)
        assert code == 0, said
        events.write_text(said)
        keys = self.run("public-keys")[1].split()
        # Isolated: nothing of the project can be imported.
        command = [sys.executable, "-I", str(SCRIPT), str(events), str(self.anchors), *keys]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return _sequence(done.returncode, done.stdout + done.stderr)


def _sequence(code: int, said: str) -> int | None:
    found = re.search(r"sequence (\d+): ", said)
    assert (code == 0) == (found is None), said
    assert code in {0, 1}, said
    return int(found[1]) if found else None


@pytest.fixture
def log(
    sessions: sessionmaker[Session],
    ring: KeyRing,
    database: DatabaseUrls,
    environment: dict[str, str],
    tmp_path: Path,
) -> Iterator[Log]:
    organisation, sealer = new_id(), Sealer(sessions, ring, tmp_path)
    for _ in range(SEALS):
        with sessions.begin() as db:
            for number in range(EACH):
                where = Where("192.0.2.1", "Grüße\n" + "x" * 20, "request")
                target = Target("thing", str(number), "naïve 🎉")
                details = {"fields": ["a", "b"], "more": {"n": 7, "none": None, "yes": True}}
                event = Event(organisation, f"thing.{number}", Actor("key", "k", "l"), target, where, details=details)
                operations.record(db, event)
        sealer.run()
    with psycopg.connect(database.migrator, autocommit=True) as owner:
        yield Log(organisation, owner, environment, tmp_path)


def test_a_log_that_nobody_touched_is_sound(log: Log) -> None:
    assert log.verify() is None
    assert log.verify("--anchors", str(log.anchors)) is None
    assert log.verify_export() is None
    assert log.run("anchors", log.id)[1] == log.anchors.read_text()


EVENT = "(SELECT event_id FROM audit_chain WHERE organisation_id = %(org)s AND sequence = {})"
CHAIN = "audit_chain WHERE organisation_id = %(org)s AND sequence"
SHIFT = (
    "UPDATE audit_chain SET sequence = -sequence - 1 WHERE organisation_id = %(org)s AND sequence >= 6",
    "UPDATE audit_chain SET sequence = -sequence WHERE organisation_id = %(org)s AND sequence < 0",
)
COPY = (
    "INSERT INTO audit_events SELECT organisation_id, gen_random_uuid(), occurred_at, 'thing.forged', outcome, "
    "actor_kind, actor_id, actor_label, target_kind, target_id, target_label, ip, user_agent, request_id, count, "
    f"details FROM audit_events WHERE id = {EVENT.format(6)}"
)
BACKDATED = COPY.replace("occurred_at", "now() - interval '2 h'")
FORGED = "SELECT id FROM audit_events WHERE organisation_id = %(org)s AND action = 'thing.forged'"
UNQUEUE = "DELETE FROM audit_unsealed WHERE organisation_id = %(org)s"
SWAP = (
    "UPDATE audit_chain c SET event_id = o.event_id FROM audit_chain o WHERE c.organisation_id = %(org)s "
    "AND o.organisation_id = %(org)s AND (c.sequence, o.sequence) IN ((6, 7), (7, 6))"
)
TAMPERED: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "an altered text": (6, (f"UPDATE audit_events SET actor_id = 'other' WHERE id = {EVENT.format(6)}",)),
    "an altered moment": (
        6,
        (f"UPDATE audit_events SET occurred_at = occurred_at + interval '1 us' WHERE id = {EVENT.format(6)}",),
    ),
    "altered details": (6, (f"UPDATE audit_events SET details = '{{}}' WHERE id = {EVENT.format(6)}",)),
    "an address taken away": (6, (f"UPDATE audit_events SET ip = NULL WHERE id = {EVENT.format(6)}",)),
    "a removed event": (6, (f"DELETE FROM audit_events WHERE id = {EVENT.format(6)}",)),
    "a removed event with its link": (
        6,
        (f"DELETE FROM audit_events WHERE id = {EVENT.format(6)}", f"DELETE FROM {CHAIN} = 6"),
    ),
    "a removed event, the rest moved up": (
        6,
        (
            f"DELETE FROM audit_events WHERE id = {EVENT.format(6)}",
            f"DELETE FROM {CHAIN} = 6",
            "UPDATE audit_chain SET sequence = -sequence + 1 WHERE organisation_id = %(org)s AND sequence > 6",
            "UPDATE audit_chain SET sequence = -sequence WHERE organisation_id = %(org)s AND sequence < 0",
        ),
    ),
    "the first event removed": (
        1,
        (f"DELETE FROM audit_events WHERE id = {EVENT.format(1)}", f"DELETE FROM {CHAIN} = 1"),
    ),
    "events in another order": (6, ("ALTER TABLE audit_chain DROP CONSTRAINT uq_audit_chain_event", SWAP)),
    "an inserted event": (
        6,
        (
            COPY,
            *SHIFT,
            f"INSERT INTO audit_chain SELECT %(org)s, 6, ({FORGED}), hash FROM {CHAIN} = 7",
        ),
    ),
    "an inserted event at the end": (
        13,
        (COPY, f"INSERT INTO audit_chain SELECT %(org)s, 13, ({FORGED}), hash FROM {CHAIN} = 12"),
    ),
    "an altered link": (
        6,
        ("UPDATE audit_chain SET hash = sha256(hash) WHERE organisation_id = %(org)s AND sequence = 6",),
    ),
    "a truncated tail": (
        9,
        (
            f"DELETE FROM audit_events WHERE id IN (SELECT event_id FROM {CHAIN} > 8)",
            f"DELETE FROM {CHAIN} > 8",
            "DELETE FROM audit_seals WHERE organisation_id = %(org)s AND number = 3",
        ),
    ),
    "half a tail": (
        11,
        (f"DELETE FROM audit_events WHERE id IN (SELECT event_id FROM {CHAIN} > 10)", f"DELETE FROM {CHAIN} > 10"),
    ),
    "everything": (
        1,
        (
            "DELETE FROM audit_events WHERE organisation_id = %(org)s",
            "DELETE FROM audit_chain WHERE organisation_id = %(org)s",
            "DELETE FROM audit_seals WHERE organisation_id = %(org)s",
        ),
    ),
}


@pytest.fixture
def whole_again(log: Log) -> Iterator[None]:
    """Puts back what a way to tamper takes from the tables."""
    yield
    log.owner.execute("DELETE FROM audit_unsealed")
    missing = log.owner.execute("SELECT 1 FROM pg_constraint WHERE conname = 'uq_audit_chain_event'").fetchone() is None
    if missing:
        log.tamper("DELETE FROM audit_chain WHERE organisation_id = %(org)s")
        log.owner.execute(
            "ALTER TABLE audit_chain ADD CONSTRAINT uq_audit_chain_event UNIQUE (organisation_id, event_id)"
        )


@pytest.mark.acceptance("G03")
@pytest.mark.parametrize("what", TAMPERED)
@pytest.mark.usefixtures("whole_again")
def test_the_first_bad_sequence_is_named(log: Log, what: str) -> None:
    first_bad, statements = TAMPERED[what]
    log.tamper(*statements)
    assert log.verify("--anchors", str(log.anchors)) == first_bad
    assert log.verify_export() == first_bad


UNSEEN_WITHOUT_ANCHORS = {"a truncated tail", "everything"}


@pytest.mark.acceptance("G03")
@pytest.mark.parametrize("what", sorted(set(TAMPERED) - UNSEEN_WITHOUT_ANCHORS))
@pytest.mark.usefixtures("whole_again")
def test_all_but_a_cut_is_found_without_anchors(log: Log, what: str) -> None:
    first_bad, statements = TAMPERED[what]
    log.tamper(*statements)
    assert log.verify() == first_bad


SEAL = "UPDATE audit_seals SET {} WHERE organisation_id = %(org)s AND number = 2"
SEALS_FORGED = {
    "another hash": "hash = sha256(hash)",
    "another signature": "signature = sha512(signature)",
    "another key": "key_id = 'other'",
    "another moment": "sealed_at = sealed_at + interval '1 us'",
    "another end": "last_sequence = 7",
}


@pytest.mark.acceptance("G03")
@pytest.mark.parametrize("what", SEALS_FORGED)
def test_a_forged_seal_is_named_by_where_it_begins(log: Log, what: str) -> None:
    log.tamper(SEAL.format(SEALS_FORGED[what]))
    assert log.verify() == 5
    assert log.verify("--anchors", str(log.anchors)) == 5
    # Anchors that are exported now are as bad; those that were kept are not.
    assert log.verify_export() is None
    log.anchors.write_text(log.run("anchors", log.id)[1])
    assert log.verify_export() == 5


@pytest.mark.acceptance("G03")
def test_an_event_that_was_taken_out_before_it_was_sealed_is_missed(log: Log, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as db:
        operations.record(db, Event(log.organisation, "thing.done", Actor("key")))
    log.tamper("DELETE FROM audit_events WHERE organisation_id = %(org)s AND action = 'thing.done'")
    assert log.verify() == 13


@pytest.mark.acceptance("G03")
def test_an_event_that_was_taken_out_of_the_queue_is_missed(log: Log, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as db:
        operations.record(db, Event(log.organisation, "thing.done", Actor("key")))
    log.tamper(UNQUEUE)
    assert log.verify() == 13


@pytest.mark.acceptance("G03")
@pytest.mark.parametrize("is_sealed", [False, True])
def test_an_event_that_is_written_into_the_past_is_named(
    log: Log, sessions: sessionmaker[Session], ring: KeyRing, *, is_sealed: bool
) -> None:
    log.owner.execute(BACKDATED.encode(), {"org": log.organisation})
    if is_sealed:
        Sealer(sessions, ring, log.folder).run()
        assert log.verify_export() == 13
    assert log.verify() == 13


def test_a_log_that_cannot_go_on_keeps_up_no_other(
    log: Log, sessions: sessionmaker[Session], ring: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    log.tamper("DELETE FROM audit_seals WHERE organisation_id = %(org)s AND number = 3")
    others = [UUID(int=1), UUID(int=2**128 - 1)]
    with sessions.begin() as db:
        for one in (log.organisation, *others):
            operations.record(db, Event(one, "thing.done", Actor("key")))
    Sealer(sessions, ring, None).run()
    broken = [fields_of(one)["organisation_id"] for one in caplog.records if one.msg == "audit_log_broken"]
    assert encode("org", log.organisation) in broken
    assert [_sequence(*log.run("verify", encode("org", one))) for one in others] == [None, None]
    assert log.verify() == 9
    log.owner.execute("DELETE FROM audit_unsealed")


def test_what_is_not_sealed_yet_is_no_fault(log: Log, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as db:
        operations.record(db, Event(log.organisation, "thing.done", Actor("key")))
    assert log.verify("--anchors", str(log.anchors)) is None


def test_all_organisations_are_verified_at_once(log: Log) -> None:
    log.tamper("DELETE FROM audit_events WHERE organisation_id = %(org)s")
    code, said = log.run("verify")
    assert code == 1
    assert f"{log.id}\tBAD at sequence 1: " in said
    assert said.count("\tas it was sealed") >= 1


def test_a_public_key_of_somebody_else_verifies_nothing(log: Log) -> None:
    [known] = log.run("public-keys")[1].split()
    assert log.verify("--public-key", known) is None
    assert log.verify("--public-key", "test=" + "A" * 43 + "=") == 1


@pytest.mark.parametrize("key", ["", "test", "test=", "test=***", "test=AAAA"])
def test_what_is_no_public_key_is_a_usage_error(log: Log, key: str) -> None:
    assert log.run("verify", log.id, "--public-key", key)[0] == 2


def test_a_file_without_anchors_is_a_usage_error(log: Log) -> None:
    log.anchors.write_text("something else\n")
    code, said = log.run("verify", log.id, "--anchors", str(log.anchors))
    assert code == 2
    assert str(log.anchors) in said


def test_the_verifier_that_stands_alone_is_short_enough_to_be_read() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 60
    assert "app" not in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)
