"""Passwords may be anything long that is not easy to guess."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.passwords import LONGEST, Weakness, common, normalised, own_words, weaknesses

ALICE = ("Alice Ångström", "alice.liddell@wonderland.example", "Acme Robotics GmbH")


@pytest.mark.acceptance("P01")
@pytest.mark.parametrize(("length", "has_mfa", "good"), [(14, False, 0), (15, False, 1), (7, True, 0), (8, True, 1)])
def test_fifteen_characters_are_needed_and_eight_beside_a_second_factor(
    length: int, *, has_mfa: bool, good: int
) -> None:
    found = weaknesses("qzvkxjwpfyhgbmd"[:length], has_mfa=has_mfa)
    assert found == ([] if good else [Weakness.too_short])


@pytest.mark.acceptance("P04")
def test_each_of_the_most_common_ones_is_refused() -> None:
    most_common = sorted(common())
    assert len(most_common) >= 3000
    for one in most_common[::7]:
        for variant in (one, one.upper(), f"{one}!", f"{one}{one}"):
            assert Weakness.blocklisted in weaknesses(variant), variant


@pytest.mark.acceptance("P04")
@pytest.mark.parametrize(
    "password",
    [
        "alice.liddell@wonderland.example",
        "AliceLiddellWonderland",
        "acme robotics 2026!",
        "Acme-Robotics-GmbH",
        "ångström ångström",
        "postrider webhooks",
        "Postrider/Postrider/1",
    ],
)
def test_what_is_made_of_the_own_names_or_the_products_is_refused(password: str) -> None:
    assert weaknesses(password, ALICE) == [Weakness.blocklisted]


@pytest.mark.parametrize("password", ["alice met nine green horses", "a webhook ate my grandmother"])
def test_own_names_may_be_a_part_of_it(password: str) -> None:
    assert weaknesses(password, ALICE) == []


@pytest.mark.parametrize(
    "password", ["aaaaaaaaaaaaaaaaaaaa", "abcdefghijklmnopqrs", "qwertyuiopasdfghjkl", "password1234567", "1" * 300]
)
def test_what_is_easy_to_guess_is_refused(password: str) -> None:
    assert set(weaknesses(password)) & {Weakness.too_guessable, Weakness.blocklisted}


@pytest.mark.acceptance("P03")
@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=20, max_size=20).filter(lambda one: len(set(one)) > 9))
@settings(deadline=None, max_examples=50)
def test_no_kind_of_characters_is_demanded(password: str) -> None:
    assert Weakness.too_short not in weaknesses(password)
    assert Weakness.too_long not in weaknesses(password)


@pytest.mark.acceptance("P02")
@pytest.mark.parametrize("length", [64, 72, 73, 200, LONGEST])
def test_long_ones_are_good_whatever_comes_after_what_is_scored(length: int) -> None:
    assert weaknesses(("four mild winters on the isle of " * 40)[:length]) == []


def test_there_is_an_end() -> None:
    assert weaknesses("x" * (LONGEST + 1)) == [Weakness.too_long]


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=100)
def test_every_text_is_judged(password: str) -> None:
    assert len(weaknesses(password, ALICE)) == len(set(weaknesses(password, ALICE)))
    assert normalised(normalised(password)) == normalised(password)


def test_the_same_letters_are_the_same_and_those_that_look_alike_are_not() -> None:
    assert normalised("cafe\u0301") == normalised("caf\u00e9")
    assert normalised("\ufb01n") != normalised("fin")
    assert normalised("a\u00a0b ") == "a\u00a0b "


def test_short_words_are_nobodys() -> None:
    assert "gmbh" in own_words(ALICE)
    assert all(len(one) >= 4 for one in own_words(["Al B", "x@y.example"]))


def test_judging_the_worst_takes_little_time() -> None:
    began = time.process_time()
    weaknesses("1l!i4a@7+0o$5sz2" * 20)
    weaknesses("qwerty12asdfgh34" * 20, ALICE)
    assert time.process_time() - began < 1
