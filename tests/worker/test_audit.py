"""Sealing the audit log: everything that was committed gets its place, once, however many seal."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.domain.audit import SYSTEM, Actor, Event, Target
from app.domain.audit_chain import Seal
from app.features.audit import operations, queries
from app.features.audit.anchors import AnchorFolder
from app.features.audit.keys import public_keys
from app.kit.clock import new_id
from app.kit.db import make_engine, make_sessions
from app.kit.encryption import KeyRing
from app.models import AuditChain, AuditEvent, AuditUnsealed
from tests.lines import fields_of
from tests.worker.test_plans import explained
from worker.audit import Sealer

Sessions = sessionmaker[Session]


@pytest.fixture
def organisation() -> UUID:
    return new_id()


@pytest.fixture
def sealer(sessions: Sessions, ring: KeyRing) -> Sealer:
    return Sealer(sessions, ring, None)


@pytest.fixture
def folder(tmp_path: Path) -> AnchorFolder:
    return AnchorFolder(tmp_path)


def write(sessions: Sessions, organisation_id: UUID, count: int = 1, action: str = "thing.done") -> list[UUID]:
    with sessions.begin() as db:
        for _ in range(count):
            operations.record(db, Event(organisation_id, action, Actor("key", "key_1"), Target("thing", "1")))
        return [one.id for one in db.new if isinstance(one, AuditEvent)]


def chain(sessions: Sessions, organisation_id: UUID) -> list[UUID]:
    """The ids of the events in the chain, in its order."""
    with sessions() as db:
        mine = select(AuditChain.event_id).where(AuditChain.organisation_id == organisation_id)
        return list(db.scalars(mine.order_by(AuditChain.sequence)))


def seals(sessions: Sessions, organisation_id: UUID) -> list[tuple[int, int, int]]:
    with sessions() as db:
        found = db.scalars(queries.seals(organisation_id))
        return [(one.number, one.first_sequence, one.last_sequence) for one in found]


def is_sound(sessions: Sessions, ring: KeyRing, organisation_id: UUID, anchors: tuple[Seal, ...] = ()) -> bool:
    with sessions() as db:
        return operations.verify(db, organisation_id, public_keys(ring), anchors) is None


def test_events_are_sealed_in_their_order(
    sessions: Sessions, ring: KeyRing, sealer: Sealer, organisation: UUID
) -> None:
    first = write(sessions, organisation, 3)
    sealer.run()
    second = write(sessions, organisation, 2)
    sealer.run()
    assert chain(sessions, organisation) == sorted(first) + sorted(second)
    assert seals(sessions, organisation) == [(1, 1, 3), (2, 4, 5)]
    assert is_sound(sessions, ring, organisation)


def test_nothing_new_makes_no_seal(sessions: Sessions, sealer: Sealer, organisation: UUID) -> None:
    write(sessions, organisation)
    assert sealer.run() >= 1
    assert sealer.run() == 0
    assert seals(sessions, organisation) == [(1, 1, 1)]


def test_each_organisation_has_a_chain_of_its_own(sessions: Sessions, ring: KeyRing, sealer: Sealer) -> None:
    organisations = [new_id(), new_id(), SYSTEM]
    sealer.run()
    before = {one: chain(sessions, one) for one in organisations}
    for one in organisations:
        write(sessions, one, 2)
    sealer.run()
    for one in organisations:
        assert len(chain(sessions, one)) == len(before[one]) + 2
        assert is_sound(sessions, ring, one)


def test_many_events_take_several_seals(
    sessions: Sessions, ring: KeyRing, sealer: Sealer, organisation: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 4)
    write(sessions, organisation, 10)
    sealer.run()
    assert seals(sessions, organisation) == [(1, 1, 4), (2, 5, 8), (3, 9, 10)]
    assert is_sound(sessions, ring, organisation)


def test_what_commits_late_is_sealed_late(
    sessions: Sessions, ring: KeyRing, sealer: Sealer, organisation: UUID
) -> None:
    """Its id and its moment are older than those of events that were sealed before it was there to be seen."""
    late = sessions()
    operations.record(late, Event(organisation, "thing.late", Actor("key")))
    late.flush()
    on_time = write(sessions, organisation, 2)
    sealer.run()
    assert chain(sessions, organisation) == on_time
    late.commit()
    late.close()
    sealer.run()
    found = chain(sessions, organisation)
    assert (found[:2], len(found)) == (on_time, 3)
    assert found[2] < on_time[0]
    assert is_sound(sessions, ring, organisation)


def test_an_event_that_was_rolled_back_leaves_nothing_to_seal(
    sessions: Sessions, sealer: Sealer, organisation: UUID
) -> None:
    with sessions() as db:
        operations.record(db, Event(organisation, "thing.done", Actor("key")))
        db.flush()
        db.rollback()
    sealer.run()
    assert (chain(sessions, organisation), seals(sessions, organisation)) == ([], [])


def test_many_sealers_make_one_chain(
    sessions: Sessions, ring: KeyRing, organisation: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 3)
    ended = Flag()

    def run() -> None:
        sealer = Sealer(sessions, ring, None)
        while not ended.is_set():
            sealer.run()

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run) for _ in range(3)]
        written = [pool.submit(write, sessions, organisation, 2).result() for _ in range(40)]
        ended.set()
        for one in running:
            one.result()
    Sealer(sessions, ring, None).run()
    assert sorted(chain(sessions, organisation)) == sorted(one for some in written for one in some)
    assert is_sound(sessions, ring, organisation)


def test_a_key_that_was_turned_leaves_old_seals_good(
    sessions: Sessions, ring: KeyRing, sealer: Sealer, organisation: UUID
) -> None:
    write(sessions, organisation)
    sealer.run()
    material = {"new": "bmV3IGtleSBuZXcga2V5IG5ldyBrZXkgbmV3IGtleSE="}
    new = KeyRing.parse(material, "new")
    write(sessions, organisation)
    Sealer(sessions, new, None).run()
    with sessions() as db:
        both = {**public_keys(ring), **public_keys(new)}
        assert operations.verify(db, organisation, both) is None
        fault = operations.verify(db, organisation, public_keys(new))
    assert fault is not None
    assert fault.sequence == 1


class TestAnchors:
    def test_each_seal_is_a_line_of_its_organisation(
        self, sessions: Sessions, ring: KeyRing, folder: AnchorFolder, tmp_path: Path, organisation: UUID
    ) -> None:
        sealer = Sealer(sessions, ring, tmp_path)
        for _ in range(3):
            write(sessions, organisation)
            sealer.run()
        lines = folder.path(organisation).read_text().splitlines()
        assert [json.loads(line)["last_sequence"] for line in lines] == [1, 2, 3]
        assert is_sound(sessions, ring, organisation, tuple(map(Seal.of_anchor, lines)))

    def test_a_process_that_died_before_it_could_write_is_made_up_for(
        self, sessions: Sessions, ring: KeyRing, folder: AnchorFolder, tmp_path: Path, organisation: UUID
    ) -> None:
        write(sessions, organisation)
        Sealer(sessions, ring, None).run()
        assert not folder.path(organisation).exists()
        Sealer(sessions, ring, tmp_path).run()
        assert len(folder.path(organisation).read_text().splitlines()) == 1

    @pytest.mark.parametrize("rest", [b'{"numb', b"", b"x" * 3000])
    def test_what_a_crash_left_of_a_line_is_cut_off(
        self, sessions: Sessions, ring: KeyRing, folder: AnchorFolder, tmp_path: Path, organisation: UUID, rest: bytes
    ) -> None:
        file = folder.path(organisation)
        sealer = Sealer(sessions, ring, tmp_path)
        write(sessions, organisation)
        sealer.run()
        whole = file.read_bytes()
        file.write_bytes(whole + rest)
        write(sessions, organisation)
        sealer.run()
        lines = file.read_bytes().splitlines()
        assert (lines[0] + b"\n", len(lines)) == (whole, 2)
        assert all(map(json.loads, lines))

    def test_two_processes_write_each_line_once(
        self, sessions: Sessions, ring: KeyRing, folder: AnchorFolder, tmp_path: Path, organisation: UUID
    ) -> None:
        for _ in range(20):
            write(sessions, organisation)
            Sealer(sessions, ring, None).run()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: AnchorFolder(tmp_path).catch_up(sessions, organisation), range(8)))
        numbers = [json.loads(line)["number"] for line in folder.path(organisation).read_text().splitlines()]
        assert numbers == list(range(1, 21))

    def test_a_file_that_holds_something_else_is_left_alone(
        self, sessions: Sessions, ring: KeyRing, folder: AnchorFolder, tmp_path: Path, organisation: UUID
    ) -> None:
        folder.path(organisation).write_bytes(b"x" * 9000)
        write(sessions, organisation)
        Sealer(sessions, ring, tmp_path).run()
        assert folder.path(organisation).read_bytes() == b"x" * 9000

    def test_a_folder_that_is_gone_is_tried_again(
        self, sessions: Sessions, ring: KeyRing, tmp_path: Path, organisation: UUID, caplog: pytest.LogCaptureFixture
    ) -> None:
        home = tmp_path / "later"
        sealer = Sealer(sessions, ring, home)
        write(sessions, organisation)
        sealer.run()
        (line,) = [one for one in caplog.records if one.msg == "audit_anchors_wait"]
        assert fields_of(line)["organisations"] >= 1
        home.mkdir()
        sealer.run()
        assert AnchorFolder(home).path(organisation).exists()

    def test_an_anchor_is_in_the_process_log_too(
        self, sessions: Sessions, sealer: Sealer, organisation: UUID, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(sessions, organisation)
        with caplog.at_level(logging.INFO, logger="worker.audit"):
            sealer.run()
        anchors = [fields_of(one)["anchor"] for one in caplog.records if one.msg == "audit_sealed"]
        (anchor,) = [one for one in anchors if str(organisation) in one]
        assert Seal.of_anchor(anchor).last == 1


KEPT = ("audit_events", "audit_chain", "audit_seals")
CHANGES = {
    "UPDATE": "UPDATE {} SET organisation_id = organisation_id",
    "DELETE": "DELETE FROM {}",
    "TRUNCATE": "TRUNCATE {}",
}


@pytest.fixture
def connection(database: DatabaseUrls, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A connection of the role that the test asks for."""
    with psycopg.connect(getattr(database, request.param), autocommit=True) as opened:
        yield opened


@pytest.mark.acceptance("G02")
@pytest.mark.parametrize("connection", ["api", "worker", "migrator"], indirect=True)
@pytest.mark.parametrize("table", KEPT)
@pytest.mark.parametrize("change", CHANGES)
def test_no_role_changes_what_is_written(
    sessions: Sessions, sealer: Sealer, organisation: UUID, connection: psycopg.Connection, table: str, change: str
) -> None:
    write(sessions, organisation)
    sealer.run()
    connection.execute("SELECT set_config('app.organisations', %s, false)", (str(organisation),))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql.SQL(CHANGES[change]).format(sql.Identifier(table)))
    assert len(chain(sessions, organisation)) == 1


@pytest.mark.acceptance("G02")
@pytest.mark.parametrize("connection", ["api", "worker"], indirect=True)
def test_no_process_says_when_an_event_happened(connection: psycopg.Connection, organisation: UUID) -> None:
    connection.execute("SELECT set_config('app.organisations', %s, false)", (str(organisation),))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(
            "INSERT INTO audit_events (organisation_id, id, occurred_at) VALUES (%s, %s, now())",
            [organisation, organisation],
        )


@pytest.mark.acceptance("G02")
@pytest.mark.parametrize("connection", ["api"], indirect=True)
@pytest.mark.parametrize("table", ["audit_chain", "audit_seals", "audit_unsealed"])
def test_the_api_does_not_write_the_chain(connection: psycopg.Connection, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(sql.SQL("INSERT INTO {} DEFAULT VALUES").format(sql.Identifier(table)))


MANY = 200_000


def test_what_is_sealed_costs_sealing_nothing(sessions: Sessions, database: DatabaseUrls, organisation: UUID) -> None:
    engine = make_engine(database.migrator)
    with make_sessions(engine).begin() as db:
        connection = db.connection()
        connection.exec_driver_sql(
            "INSERT INTO audit_events SELECT %(org)s, gen_random_uuid(), now(), 'a.b', 'success', '', '', '', '', '', "
            "'', NULL, '', '', 1, '{}' FROM generate_series(1, %(many)s)",
            {"org": organisation, "many": MANY},
        )
        connection.exec_driver_sql(
            "INSERT INTO audit_chain SELECT organisation_id, row_number() OVER (), event_id, '' FROM audit_unsealed "
            "WHERE organisation_id = %(org)s",
            {"org": organisation},
        )
        connection.exec_driver_sql("DELETE FROM audit_unsealed WHERE organisation_id = %(org)s", {"org": organisation})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    write(sessions, organisation, 20)
    with sessions() as db:
        assert db.scalar(select(func.count()).select_from(AuditChain)) is not None
        for statement in (
            queries.waiting(None),
            queries.unsealed(organisation, 500),
            queries.last_seal(organisation),
        ):
            plan = explained(db, statement)
            assert plan.rows_read <= 100
            assert plan.rows_of("audit_events") <= 20
        assert db.scalar(select(func.count()).where(AuditUnsealed.organisation_id == organisation)) == 20
