"""What an audit event says stays within its line, whatever was put into it."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.audit import MAX_DETAILS, MAX_TEXT, Actor, Event, Target, Where, address, plain, plain_details

NOBODY = UUID(int=1)
HOSTILE = {
    "a\r\nb": "a\\u000d\\u000ab",
    "\x1b[31mred\x1b[0m": "\\u001b[31mred\\u001b[0m",
    "\x9b31m": "\\u009b31m",
    "nul\x00": "nul\\u0000",
    "\u202egnp.exe": "\\u202egnp.exe",
    "line\u2028separator": "line\\u2028separator",
    "\ud800": "\\ud800",
    "\U000e0041": "\\U000e0041",
    '{"a": "b"}': '{"a": "b"}',
    "Grüße 你好 🎉": "Grüße 你好 🎉",
}


@pytest.mark.acceptance("G04")
@pytest.mark.parametrize("given_text", HOSTILE)
def test_what_does_not_print_stands_there_by_its_code(given_text: str) -> None:
    assert plain(given_text) == HOSTILE[given_text]


@given(st.text(alphabet=st.characters()), st.integers(1, 40))
def test_plain_text_prints_and_is_not_longer_than_it_may_be(text: str, most: int) -> None:
    shown = plain(text, most)
    assert shown.isprintable()
    assert len(shown) <= most
    assert plain(shown, most) == shown


def test_a_long_text_is_cut_where_one_sees_it() -> None:
    assert plain("a" * 300) == "a" * (MAX_TEXT - 1) + "…"
    assert plain("\n" * 10**6)[-1] == "…"


@pytest.mark.acceptance("G04")
def test_every_text_of_an_event_is_plain() -> None:
    bad = "a\nb\x1b[2J"
    event = Event(
        NOBODY, bad, Actor(bad, bad, bad), Target(bad, bad, bad), Where("::1", bad, bad), details={bad: [{bad: bad}]}
    )
    where = [event.where.user_agent, event.where.request_id]
    texts = [event.action, *vars(event.actor).values(), *vars(event.target).values(), *where, json.dumps(event.details)]
    assert [one for one in texts if "\n" in one or "\x1b" in one or "a" not in one] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("192.0.2.1\n", None),
        ("testclient", None),
        ("", None),
        (None, None),
    ],
)
def test_an_address_is_written_in_one_way(text: str | None, expected: str | None) -> None:
    assert address(text) == expected


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_details_read_the_same_after_any_store(details: dict[str, Any]) -> None:
    kept = plain_details(details)
    assert json.loads(json.dumps(kept)) == kept
    assert plain_details(kept) == kept
    assert not any(isinstance(one, float) for one in kept.values())


def test_details_that_are_too_many_are_left_out_and_their_size_is_said() -> None:
    kept = plain_details({str(number): "a" * 100 for number in range(1000)})
    assert list(kept) == ["omitted"]
    assert kept["omitted"] > MAX_DETAILS


def test_details_that_are_nested_deeply_become_text() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    assert len(json.dumps(plain_details({"deep": deep}))) < MAX_DETAILS
