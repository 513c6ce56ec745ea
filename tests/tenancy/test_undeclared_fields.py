"""No field binds that an operation does not declare, whatever column of whatever table it is named after."""

from collections.abc import Mapping

import pytest
from pydantic.alias_generators import to_camel
from sqlalchemy import ARRAY, Boolean, Column, Date, DateTime, Integer, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, sessionmaker

from app.kit.db import Base
from tests.api.operations import WITH_BODY, Operation, Places, is_problem
from tests.tenancy.rows import rows_that_show

FORGED, FORGED_ID, FORGED_NUMBER = "forged-by-a-caller", "0f0e0d0c-0b0a-7000-8000-f0f1f2f3f4f5", 1_313_371_337
FORGED_DAY = "2001-02-03"
SIGNS = (FORGED, FORGED.encode().hex(), FORGED_ID, FORGED_DAY, str(FORGED_NUMBER))
VALUES: Mapping[type, object] = {
    ARRAY: [FORGED],
    Boolean: True,
    Date: FORGED_DAY,
    DateTime: f"{FORGED_DAY}T00:00:00Z",
    Integer: FORGED_NUMBER,
    JSONB: {FORGED: FORGED},
    Text: FORGED,
    Uuid: FORGED_ID,
}
# What others name such things.
ALSO = ("tenant", "tenant_id", "org_id", "role", "roles", "scopes", "permissions", "owner", "secret", "key", "token")
pytestmark = pytest.mark.acceptance("Z03")
of_the_contract = pytest.mark.parametrize("operation", [one for one in WITH_BODY if not one.is_ours], ids=str)
ours = pytest.mark.parametrize("operation", [one for one in WITH_BODY if one.is_ours], ids=str)


def forged_for(operation: Operation) -> Mapping[str, object]:
    """A value for each column of each table, under both spellings of its name, but for what the operation declares."""
    columns = [column for table in Base.metadata.sorted_tables for column in table.columns]
    values = {column.name: value_for(column) for column in columns} | dict.fromkeys(ALSO, FORGED)
    spelled = {spelling: value for name, value in values.items() for spelling in (name, to_camel(name))}
    return {name: value for name, value in spelled.items() if name not in operation.fields}


def value_for(column: Column[object]) -> object:
    """What could be in the column, and is found again wherever it is kept."""
    return next((value for type_, value in VALUES.items() if isinstance(column.type, type_)), FORGED)


def test_columns_are_found() -> None:
    forged = forged_for(WITH_BODY[0])
    assert forged.keys() >= {"organisation_id", "organisationId", "created_at", "createdAt", "id", "secret", "role"}


@of_the_contract
async def test_what_a_contract_ignores_is_found_nowhere(
    places: Places, sessions: sessionmaker[Session], operation: Operation
) -> None:
    before = rows_that_show(sessions, SIGNS)
    reply = await places.send(operation, **forged_for(operation))
    assert reply.status < 300, reply.raw
    assert rows_that_show(sessions, SIGNS) == before
    assert [sign for sign in SIGNS if sign in reply.raw.decode()] == []
    await assert_secrets_are_our_own(places)


async def assert_secrets_are_our_own(places: Places) -> None:
    """They are encrypted where they are kept, so that their owner has to look."""
    for path in (
        f"{places.world.path}/endpoint/{places.world.endpoints[0]}",
        f"/operational-webhook/endpoint/{places.operational}",
    ):
        reply = await places.api.get(f"{path}/secret")
        assert reply.status == 200
        assert FORGED not in reply.body["key"]


@ours
async def test_what_is_our_own_is_refused_by_name(places: Places, operation: Operation) -> None:
    forged = forged_for(operation)
    reply = await places.send(operation, **forged)
    assert is_problem(reply, 422), reply.raw
    assert set(reply.fields) == {f"body.{name}" for name in forged}


async def test_what_binds_would_be_seen(places: Places, sessions: sessionmaker[Session]) -> None:
    """Else nothing would be shown by what is not found."""
    body = {"name": FORGED, "metadata": {"a": FORGED_DAY, "b": FORGED_ID}, "throttleRate": FORGED_NUMBER}
    seen = (FORGED, FORGED_DAY, FORGED_ID, str(FORGED_NUMBER))
    before = [rows_that_show(sessions, [sign]) for sign in seen]
    assert (await places.api.post("/app", body)).status == 201
    # The name stands in the audit log, too.
    added = [["applications", "audit_events"], *(["applications"] for _ in seen[1:])]
    after = [rows_that_show(sessions, [sign]) for sign in seen]
    assert after == [sorted([*found, *more]) for found, more in zip(before, added, strict=True)]
