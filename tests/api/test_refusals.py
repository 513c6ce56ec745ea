"""A flood of refusals makes few events; a key from a new address makes one."""

from collections.abc import AsyncIterator, Callable
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.domain.audit import ANONYMOUS, SYSTEM, Actor, Where
from app.domain.ids import encode
from app.features.audit.first_uses import FirstUses
from app.features.audit.refusals import Refusals
from app.kit.clock import new_id
from app.kit.db import make_async_engine, make_async_sessions
from app.models import AuditEvent

Sessions = async_sessionmaker[AsyncSession]
Find = Callable[[UUID], list[AuditEvent]]
REFUSED = "access.refused"


@pytest_asyncio.fixture(scope="module")
async def engine(database: DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    """The API's role."""
    made = make_async_engine(database.api, pool_size=2)
    yield made
    await made.dispose()


@pytest.fixture
def api_sessions(engine: AsyncEngine) -> Sessions:
    return make_async_sessions(engine)


@pytest.fixture
def find(sessions: sessionmaker[Session]) -> Find:
    def find(organisation_id: UUID) -> list[AuditEvent]:
        with sessions() as db:
            mine = select(AuditEvent).where(AuditEvent.organisation_id == organisation_id)
            return list(db.scalars(mine.order_by(AuditEvent.id)))

    return find


@pytest.mark.acceptance("G01")
async def test_a_flood_of_one_kind_is_one_event_with_its_count(api_sessions: Sessions, find: Find) -> None:
    organisation, refusals = new_id(), Refusals(api_sessions)
    for number in range(1000):
        refusals.note(organisation, Actor("key", "key_1"), REFUSED, Where("192.0.2.1", "agent", f"request-{number}"))
    await refusals.flush()
    [found] = find(organisation)
    assert (found.action, found.outcome, found.count) == (REFUSED, "refused", 1000)
    assert (found.actor_id, found.ip, found.user_agent) == ("key_1", "192.0.2.1", "agent")
    assert found.request_id == "request-999"
    assert found.details["first"] <= found.details["last"]


async def test_refusals_are_told_apart_by_actor_action_and_address(api_sessions: Sessions, find: Find) -> None:
    organisation, refusals = new_id(), Refusals(api_sessions)
    for actor, action, ip in (("a", "x.y", "::1"), ("b", "x.y", "::1"), ("a", "x.z", "::1"), ("a", "x.y", "::2")):
        refusals.note(organisation, Actor("key", actor), action, Where(ip))
    await refusals.flush()
    assert [one.count for one in find(organisation)] == [1] * 4


async def test_a_credential_of_nobody_is_of_no_organisation(api_sessions: Sessions, find: Find) -> None:
    refusals = Refusals(api_sessions)
    refusals.note(None, ANONYMOUS, "access.unknown", Where("192.0.2.7"))
    await refusals.flush()
    assert [one.ip for one in find(SYSTEM) if one.action == "access.unknown"] == ["192.0.2.7"]


async def test_organisations_in_one_batch_do_not_see_each_other(api_sessions: Sessions, find: Find) -> None:
    refusals, organisations = Refusals(api_sessions), [new_id() for _ in range(50)]
    for one in organisations:
        refusals.note(one, Actor("key", str(one)), REFUSED, Where())
    await refusals.flush()
    assert [[found.actor_id for found in find(one)] for one in organisations] == [[str(one)] for one in organisations]


async def test_what_has_no_room_is_counted_all_the_same(api_sessions: Sessions, find: Find) -> None:
    refusals, organisation = Refusals(api_sessions, most=10), new_id()
    for number in range(500):
        refusals.note(organisation, Actor("key", str(number)), "access.flooded", Where(f"192.0.2.{number % 250}"))
    await refusals.flush()
    overflow = [one for one in find(SYSTEM) if one.action == "access.flooded"]
    assert sum(one.count for one in find(organisation) + overflow) == 500
    assert [(one.actor_kind, one.count) for one in overflow] == [("overflow", 490)]


async def test_refusals_are_written_when_the_process_ends(api_sessions: Sessions, find: Find) -> None:
    organisation, refusals = new_id(), Refusals(api_sessions)
    async with refusals.running():
        refusals.note(organisation, Actor("key"), REFUSED, Where())
    assert len(find(organisation)) == 1


@pytest.mark.acceptance("G04")
async def test_a_hostile_user_agent_stays_within_its_event(api_sessions: Sessions, find: Find) -> None:
    organisation, refusals = new_id(), Refusals(api_sessions)
    refusals.note(organisation, Actor("key"), REFUSED, Where("::1", 'x\r\n{"action":"key.created"}\x1b[2J\x00', "a\nb"))
    await refusals.flush()
    [found] = find(organisation)
    assert found.user_agent == 'x\\u000d\\u000a{"action":"key.created"}\\u001b[2J\\u0000'
    assert found.request_id == "a\\u000ab"


async def test_a_key_from_a_new_address_is_an_event_once(api_sessions: Sessions, find: Find) -> None:
    organisation, key = new_id(), new_id()
    # As two processes, of which neither knows what the other has seen.
    for uses in (FirstUses(api_sessions), FirstUses(api_sessions)):
        for ip in ("192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "no address", None):
            uses.note(organisation, key, ip)
        await uses.flush()
    found = find(organisation)
    assert {one.ip for one in found} == {"192.0.2.1", "2001:db8::1"}
    assert {(one.action, one.actor_id) for one in found} == {("key.first_use", encode("key", key))}
    assert len(found) == 2


async def test_what_is_known_is_asked_about_no_more(
    api_sessions: Sessions, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses, organisation, key = FirstUses(api_sessions), new_id(), new_id()
    uses.note(organisation, key, "192.0.2.1")
    await uses.flush()
    seen: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement))
    uses.note(organisation, key, "192.0.2.1")
    await uses.flush()
    assert seen == []
