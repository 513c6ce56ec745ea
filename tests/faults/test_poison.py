"""Payloads at and beyond every edge: refused at the door, or delivered byte for byte, and no worker stumbles."""

import random
from collections.abc import Callable

import pytest

from tests.faults.client import ACCEPTED, Book
from tests.faults.lab import Lab, Scene, deliverers
from tests.faults.receiver import digest_of
from tests.fuzz.json_texts import NASTY
from tests.system import System

pytestmark = pytest.mark.timeout(900)
REFUSED = {400, 413, 422}
LARGEST = 1024 * 1024
DEEPEST = 63


def _padded(number: int, size: int) -> bytes:
    frame = b'{"n":%d,"x":"%b"}'
    return frame % (number, b"p" * (size - len(frame % (number, b""))))


def _nested(number: int, depth: int) -> bytes:
    return b'{"n":%d,"x":%b%b}' % (number, b"[" * (depth - 1), b"]" * (depth - 1))


# What must arrive, and what must be refused; each is the value of a member, or a whole payload of a number.
Poison = bytes | Callable[[int], bytes]
GOOD: list[Poison] = [
    b'"\\ud83d\\ude00 \\/ \\u0041 \xf0\x9f\x98\x80 \xe2\x80\xa8"',
    b"1" + b"0" * 400,
    b"-0.10000000000000000000000000000000000001E+2",
    b'{"":{"__proto__":null,"constructor":[]}}',
    b" \t\r\n [ 1 ,\n2 ] ",
    b'"' + b"\xc3\xa9" * 100_000 + b'"',
    lambda number: _padded(number, LARGEST),
    lambda number: _nested(number, DEEPEST),
]
BAD: list[Poison] = [
    b'"\\u0000"',
    b'"\x00"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"NaN",
    b"-Infinity",
    b'{"a":1,"a":2}',
    b"[1,]",
    b"01",
    b"\xef\xbb\xbf1",
    b'"\x01"',
    b"'x'",
    b"[" * 100_000,
    lambda number: _padded(number, LARGEST + 1),
    lambda number: _nested(number, DEEPEST + 1),
]


KINDS = GOOD + BAD


def test_f23_poison_payloads(lab: Lab, installation: System) -> None:
    """Whatever is accepted arrives as it was posted, and once; the processes that deliver stay the same."""
    scene = Scene(lab, installation, "F23 poison payloads")
    before = set(deliverers(installation))
    with scene.load(count=300 if lab.bounded else 20_000, payload=_payload) as load:
        book = load.join()
    recovery = scene.settle(60)
    verdict = scene.conclude(book, recovery=recovery, note=f"{book.given_up} refused")
    assert set(book.statuses) <= {ACCEPTED, *REFUSED}
    assert verdict.delivered >= len(GOOD)
    assert book.given_up >= len(BAD)
    assert {number for number in range(len(KINDS)) if digest_of(_payload(number)) in _digests(book)} == set(
        range(len(GOOD))
    )
    assert set(deliverers(installation)) == before


def _payload(number: int) -> bytes:
    """Each kind once, then strings into which something nasty was put."""
    poison = KINDS[number] if number < len(KINDS) else _nasty(random.Random(number))
    return poison(number) if callable(poison) else b'{"n":%d,"x":%b}' % (number, poison)


def _nasty(dice: random.Random) -> bytes:
    text = b'"' + bytes(dice.choices(b"abc xyz", k=20)) + b'"'
    place = dice.randrange(1, len(text))
    return text[:place] + dice.choice(NASTY) + text[place:]


def _digests(book: Book) -> set[str]:
    return {one.digest for one in book.accepted.values()}
