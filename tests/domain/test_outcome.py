"""Outcomes: every status and failure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.outcome import Failure, Verdict, judge

STATUSES = st.one_of(st.none(), st.integers(100, 599))


@given(st.integers(200, 299))
def test_2xx_is_success(status: int) -> None:
    assert judge(status, None) == Verdict(success=True, disable=False, slow_down=False)


@given(st.integers(300, 399))
def test_w05_redirects_fail(status: int) -> None:
    """W05: a redirect is not success."""
    assert judge(status, None) == Verdict(success=False, disable=False, slow_down=False)


@pytest.mark.parametrize(
    ("status", "disable", "slow_down"),
    [(101, False, False), (400, False, False), (410, True, False), (429, False, True), (500, False, False),
     (502, False, True), (503, False, True), (504, False, True), (None, False, False)],
)  # fmt: skip
def test_w06_statuses(status: int | None, disable: bool, slow_down: bool) -> None:  # noqa: FBT001
    """W06: 410 disables; 429, 502, 503 and 504 slow down."""
    assert judge(status, None) == Verdict(success=False, disable=disable, slow_down=slow_down)


@given(STATUSES, st.sampled_from(Failure))
def test_a_failed_exchange_is_never_success(status: int | None, failure: Failure) -> None:
    assert not judge(status, failure).success


@pytest.mark.parametrize("failure", list(Failure))
def test_our_own_faults_do_not_blame_the_endpoint(failure: Failure) -> None:
    assert judge(None, failure).blames == (failure not in {Failure.PROXY, Failure.LOCAL})
