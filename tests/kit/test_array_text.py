"""Arrays that are written our way arrive as they were."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Connection,
    DateTime,
    Float,
    LargeBinary,
    Text,
    Uuid,
    bindparam,
    select,
)
from sqlalchemy.types import TypeEngine

from app.cli.dev.roles import DatabaseUrls
from app.kit.array_text import elements_of
from app.kit.db import make_engine
from app.kit.direct import fetch

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])
MOMENTS = st.datetimes(datetime.fromisoformat("0001-01-03"), datetime.fromisoformat("9999-12-29"), timezones=ZONES)
KINDS: list[tuple[TypeEngine[Any], st.SearchStrategy[Any]]] = [
    (Uuid(), st.uuids()),
    (BigInteger(), st.integers(min_value=-(2**63), max_value=2**63 - 1)),
    (DateTime(timezone=True), MOMENTS),
    (Text(), st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
    (Boolean(), st.booleans()),
    (LargeBinary(), st.binary()),
    (Float(), st.floats(allow_nan=False)),
]


@pytest.fixture(scope="module")
def connection(database: DatabaseUrls) -> Iterator[Connection]:
    engine = make_engine(database.worker)
    with engine.connect() as connected:
        yield connected
    engine.dispose()


@pytest.mark.parametrize(("kind", "values"), KINDS)
def test_an_array_arrives_as_it_was(
    connection: Connection, kind: TypeEngine[Any], values: st.SearchStrategy[Any]
) -> None:
    statement = select(bindparam("given", type_=ARRAY(kind)).label("found"))

    @settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(values | st.none()) | st.lists(values))
    def check(sent: list[Any]) -> None:
        (row,) = fetch(connection, statement, {"given": sent})
        assert row.found == sent

    check()


def test_elements_of_another_type_are_refused() -> None:
    with pytest.raises(TypeError, match="no text is known for elements of JSON"):
        elements_of(JSON())
