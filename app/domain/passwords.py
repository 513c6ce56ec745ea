"""Which passwords are good enough, by NIST SP 800-63B-4: long ones that are not on a list, of whatever characters.

Passwords are compared in Unicode's form NFC: the same letters are the same password on every keyboard. Letters that
merely look alike stay apart (NFKC would take `ﬁ` for `fi`), and spaces are kept as they are.
"""

import re
import threading
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from functools import cache

from zxcvbn import zxcvbn
from zxcvbn.frequency_lists import FREQUENCY_LISTS

SHORTEST, SHORTEST_WITH_MFA, LONGEST = 15, 8, 1024
SCORED = 72
"""zxcvbn takes no more characters; what follows can only make a password better."""
GUESSABLE = 1
"""Up to this score fewer than a million guesses are enough."""
PRODUCT_WORDS = ("postrider", "webhook", "webhooks", "password", "passphrase")
_SHORTEST_WORD, _LEAST_OWN, _LONGEST_TAIL = 4, 6, 4
_WORD = re.compile(r"\w+")
_LETTER = re.compile(r"[^\W\d_]")
_NO_LETTERS = re.compile(r"[\W\d_]+")
# zxcvbn keeps the words that one call gives it in a variable of its module.
_one_at_a_time = threading.Lock()


class Weakness(StrEnum):
    """Why a password is refused."""

    too_short = "too_short"
    too_long = "too_long"
    blocklisted = "blocklisted"
    too_guessable = "too_guessable"


def normalised(password: str) -> str:
    """The password as it is hashed and compared; every character counts."""
    return unicodedata.normalize("NFC", password)


def shortest(*, has_mfa: bool) -> int:
    """The characters that a password needs, alone or beside a second factor."""
    return SHORTEST_WITH_MFA if has_mfa else SHORTEST


def weaknesses(password: str, words: Iterable[str] = (), *, has_mfa: bool = False) -> list[Weakness]:
    """What is wrong with a password, the gravest first; `words` is what its owner is called, or belongs to.

    It takes some milliseconds of a processor. Any characters will do, in any mixture.
    """
    text, own = normalised(password), own_words(words)
    if len(text) > LONGEST:
        return [Weakness.too_long]
    found = []
    if _is_listed(text) or _is_made_of(text, own):
        found.append(Weakness.blocklisted)
    if len(text) < shortest(has_mfa=has_mfa):
        found.append(Weakness.too_short)
    if not found and _score(text[:SCORED], own) <= GUESSABLE:
        found.append(Weakness.too_guessable)
    return found


def own_words(names: Iterable[str]) -> list[str]:
    """The words in names and addresses that say something, the longest first, beside the product's own."""
    parts = [part for name in (*names, *PRODUCT_WORDS) for part in (*_WORD.findall(_folded(name)), _joined(name))]
    return sorted({one for one in parts if len(one) >= _SHORTEST_WORD}, key=lambda one: (-len(one), one))


@cache
def common() -> frozenset[str]:
    """Thirty thousand passwords that many people have chosen, and that were found in leaks."""
    return frozenset(FREQUENCY_LISTS["passwords"])


def _is_listed(text: str) -> bool:
    folded = _folded(text)
    core = _NO_LETTERS.sub("", folded)
    is_padded = len(folded) - len(core) <= _LONGEST_TAIL
    return (is_padded and core in common()) or _is_lengthened(folded) or _is_repeated(folded)


def _is_lengthened(text: str) -> bool:
    """Whether a listed one has a few digits or signs behind it, or nothing."""
    cuts = range(len(text), max(0, len(text) - _LONGEST_TAIL - 1), -1)
    return any(text[:cut] in common() and not _LETTER.search(text[cut:]) for cut in cuts)


def _is_made_of(text: str, words: Iterable[str]) -> bool:
    whole = left = _joined(text)
    for word in words:
        left = left.replace(word, "")
    return left != whole and len(left) < _LEAST_OWN


def _is_repeated(text: str) -> bool:
    """Whether it is a listed one, over and over."""
    lengths = (length for length in range(1, len(text)) if len(text) % length == 0)
    return any(text[:length] in common() and text == text[:length] * (len(text) // length) for length in lengths)


def _score(text: str, words: list[str]) -> int:
    with _one_at_a_time:
        return int(zxcvbn(text, user_inputs=words, max_length=SCORED)["score"])


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _joined(text: str) -> str:
    return "".join(_WORD.findall(_folded(text))).replace("_", "")
