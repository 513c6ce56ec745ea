"""Entity tags: what a precondition demands, and what a caller has already."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from app.kit.conditional import Known, Precondition, etag, if_match, if_match_required, if_none_match
from app.kit.errors import Kind, Problem

MADE_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


class Thing(BaseModel):
    """Something to show."""

    name: str = "thing"


def refusal(precondition: Precondition, tag: str | None) -> Kind | None:
    try:
        precondition.require(tag)
    except Problem as problem:
        return problem.kind
    return None


def test_a_tag_names_a_version() -> None:
    assert etag(3) == '"3"'
    assert etag(3) != etag(4)


def test_a_tag_of_a_named_thing_tells_it_from_the_one_that_had_the_name_before() -> None:
    before = MADE_AT - timedelta(microseconds=1)
    assert etag(1, MADE_AT) == '"1-6475ef6574f35"'
    assert len({etag(1, MADE_AT), etag(1, before), etag(2, MADE_AT), etag(1)}) == 4


@pytest.mark.parametrize("given", ['"3"', '"2", "3"', '  "2","3"\t', "*"])
def test_one_of_the_tags_is_enough(given: str) -> None:
    assert refusal(if_match(given), '"3"') is None


@pytest.mark.parametrize("given", ['"2"', 'W/"3"', '"2", W/"3"', '"*"', '"3,3"', '""'])
def test_another_tag_or_a_weak_one_never_matches(given: str) -> None:
    assert refusal(if_match(given), '"3"') is Kind.precondition_failed


@pytest.mark.parametrize("given", ['"3"', "*"])
def test_nothing_matches_what_is_not_there(given: str) -> None:
    assert refusal(if_match(given), None) is Kind.precondition_failed


def test_without_a_precondition_everything_goes() -> None:
    assert refusal(if_match(None), '"3"') is refusal(if_match(None), None) is None


def test_where_one_is_required_its_absence_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        if_match_required(None)
    assert refused.value.kind is Kind.precondition_required
    if_match_required('"3"').check(3)
    with pytest.raises(Problem):
        if_match_required('"3"').check(4)


@pytest.mark.parametrize("given", ["", "3", '"3', "w/3", '*, "3"', '"3" "4"', '"3",', 'w/"3"', '"a b"'])
def test_a_malformed_list_is_refused(given: str) -> None:
    for read in (if_match, if_match_required, if_none_match):
        with pytest.raises(Problem) as refused:
            read(given)
        assert refused.value.kind is Kind.invalid


@pytest.mark.parametrize("given", ['"3"', 'W/"3"', '"2", W/"3"', "*"])
def test_who_has_it_is_told_so_without_the_thing(given: str) -> None:
    answer = if_none_match(given).answer('"3"', Thing())
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (304, b"", '"3"')


@pytest.mark.parametrize("known", [Known(), if_none_match(None), if_none_match('"2"')])
def test_who_has_another_version_gets_the_thing(known: Known) -> None:
    answer = known.answer('"3"', Thing())
    assert (answer.status_code, answer.body, answer.headers["etag"]) == (200, b'{"name":"thing"}', '"3"')
