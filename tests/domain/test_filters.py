"""Filters: the rules one by one, and against a plain restatement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.filters import Subscription, matches

NONE: frozenset[str] = frozenset()
A, B, AB = frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"})
SETS = st.frozensets(st.sampled_from("abc"))
FILTERS = st.one_of(st.none(), SETS)


@pytest.mark.parametrize(
    ("subscription", "channels", "flags", "expected"),
    [
        (Subscription(), NONE, NONE, True),
        (Subscription(), A, NONE, True),
        (Subscription(disabled=True), NONE, NONE, False),
        (Subscription(event_types=A), NONE, NONE, True),
        (Subscription(event_types=B), NONE, NONE, False),
        (Subscription(event_types=NONE), NONE, NONE, True),
        (Subscription(channels=A), A, NONE, True),
        (Subscription(channels=A), AB, NONE, True),
        (Subscription(channels=A), B, NONE, False),
        (Subscription(channels=A), NONE, NONE, False),
        (Subscription(channels=NONE), NONE, NONE, True),
        (Subscription(event_types=B, channels=A), A, NONE, False),
        (Subscription(feature_flags=None), NONE, A, True),
        (Subscription(feature_flags=NONE), NONE, A, False),
        (Subscription(feature_flags=A), NONE, AB, True),
        (Subscription(feature_flags=B), NONE, A, False),
        (Subscription(feature_flags=NONE), NONE, NONE, True),
    ],
)
def test_rules(
    subscription: Subscription,
    channels: frozenset[str],
    flags: frozenset[str],
    expected: bool,  # noqa: FBT001
) -> None:
    assert matches(subscription, "a", channels, flags) is expected


@given(FILTERS, FILTERS, st.booleans(), FILTERS, st.sampled_from("abc"), SETS, SETS)
def test_every_filter_must_agree(
    types: frozenset[str] | None,
    wanted: frozenset[str] | None,
    disabled: bool,  # noqa: FBT001
    held: frozenset[str] | None,
    event_type: str,
    channels: frozenset[str],
    flags: frozenset[str],
) -> None:
    expected = all(
        [
            not disabled,
            not types or event_type in types,
            not wanted or bool(wanted & channels),
            held is None or not flags or bool(held & flags),
        ]
    )
    assert matches(Subscription(types, wanted, disabled, held), event_type, channels, flags) is expected
