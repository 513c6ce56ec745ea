"""Strict JSON of request bodies, which keeps chosen members byte for byte.

The scanning is done by the standard library in C; what it would let pass is refused here.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

Kind = Literal[
    "encoding", "syntax", "not_an_object", "duplicate_key", "constant", "number", "nul", "surrogate", "depth", "size"
]
Path = tuple[str, ...]

MAX_DEPTH = 64
# Far beyond any field of ours, far below where reading and writing integers becomes slow or fails.
MAX_NUMBER = 1000
# Members of objects and items of arrays, in all fields of ours together.
MAX_PARTS = 10_000

_BLANK = r"[ \t\n\r]*"
_OPEN = re.compile(_BLANK + r"\{" + _BLANK)
_PLAIN = r'"([^"\\\x00-\x1f]*)"' + _BLANK
_SIMPLE_KEY = re.compile(_PLAIN + ":" + _BLANK)
# Most members are a plain name and a plain string: one match reads both and what follows.
_SIMPLE_MEMBER = re.compile(_SIMPLE_KEY.pattern + _PLAIN + "([,}])" + _BLANK)
_COLON = re.compile(_BLANK + ":" + _BLANK)
_NEXT = re.compile(_BLANK + r"([,}])" + _BLANK)
_START = re.compile(_BLANK)
_END = re.compile(_BLANK + r"\Z")

_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
# One escape that may stand: not NUL, not half of a surrogate pair.
_GOOD_ESCAPE = re.compile(
    r"\\(?:[^u]|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}"
    r"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})",
    re.DOTALL,
)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


class BadJson(ValueError):
    """A body that is refused; `path` names the member as far as it is known."""

    def __init__(self, kind: Kind, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.path = path


@dataclass(frozen=True, slots=True)
class Document:
    """A top-level object: members as values, or as the exact bytes of their source."""

    values: dict[str, Any]
    raw: dict[str, bytes]


def read_object(body: bytes, *, raw: frozenset[str], max_depth: int = MAX_DEPTH) -> Document:
    """Read an object; members named in `raw` are checked but kept as they were written.

    Numbers within them may have any size, and they any number of parts. Raises BadJson. Time and memory are linear in
    the body; about a quarter of a second for the most hostile MiB.
    """
    text = _checked_text(body, max_depth)
    room = MAX_PARTS
    values: dict[str, Any] = {}
    kept: dict[str, bytes] = {}
    position, more = _enter(text)
    while more:
        match = _SIMPLE_MEMBER.match(text, position)
        value: Any
        if match and match[1] not in raw:
            key, value, position, more = match[1], match[2], match.end(), match[3] == ","
        else:
            key, start = _key(text, position)
            value, end = _check(text, start, key) if key in raw else _scan(_VALUES, text, start, key)
            position, more = _separator(text, end)
            room -= 0 if key in raw else _parts(value, room, key)
        if key in values or key in kept:
            _duplicate(key)
        if key in raw:
            kept[key] = value
        else:
            values[key] = value
        if len(values) > room:
            _too_many(key)
    _finish(text, position)
    return Document(values, kept)


def loads(body: bytes, max_depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401
    """Read any JSON value under the same rules; numbers have at most 1000 characters."""
    text = _checked_text(body, max_depth)
    value, end = _scan(_VALUES, text, _after(_START, text, 0))
    _finish(text, end)
    return value


def is_object(body: bytes, max_depth: int = MAX_DEPTH) -> bool:
    """Tell whether it is an object under the same rules; numbers may have any size."""
    try:
        text = _checked_text(body, max_depth)
        value, end = _scan(_decoder(str, str, _unique), text, _after(_START, text, 0))
        _finish(text, end)
    except BadJson:
        return False
    return isinstance(value, dict)


def _checked_text(body: bytes, max_depth: int) -> str:
    if body.startswith(b"\xef\xbb\xbf"):
        raise BadJson("encoding", "the body begins with a byte order mark")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadJson("encoding", f"the body is not UTF-8 at byte {error.start}") from None
    if b"\x00" in body:
        raise BadJson("nul", "the body contains a NUL")
    if b"\\u" in body:
        _check_escapes(text)
    if body.count(b"[") + body.count(b"{") > max_depth:
        _check_depth(body, max_depth)
    return text


def _check_escapes(text: str) -> None:
    if not _SUSPECT.search(text):
        return
    # What is left with a backslash began no good escape. Bad syntax is left for the scanner to name.
    place = _GOOD_ESCAPE.sub("", text)
    found = place.find("\\u")
    if found < 0:
        return
    code = place[found + 2 : found + 6].lower()
    if code == "0000":
        raise BadJson("nul", "a string contains the escaped NUL")
    if re.fullmatch("d[89a-f][0-9a-f]{2}", code):
        raise BadJson("surrogate", "a string contains half of a surrogate pair")


def _check_depth(body: bytes, max_depth: int) -> None:
    # The innermost pairs are taken away level by level; what does not balance is left for the scanner.
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _NOT_BRACKETS)
    for _ in range(max_depth):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            return
        brackets = inner
    if b"[]" in brackets:
        raise BadJson("depth", f"the body is nested deeper than {max_depth} levels")


def _enter(text: str) -> tuple[int, bool]:
    match = _OPEN.match(text)
    if match:
        return (match.end() + 1, False) if text.startswith("}", match.end()) else (match.end(), True)
    start = _after(_START, text, 0)
    if start == len(text):
        raise BadJson("syntax", "the body is empty")
    _scan(_VALUES, text, start)
    raise BadJson("not_an_object", "the body must be an object")


def _key(text: str, position: int) -> tuple[str, int]:
    match = _SIMPLE_KEY.match(text, position)
    if match:
        return match[1], match.end()
    if not text.startswith('"', position):
        _syntax("expected a member name in double quotes", text, position)
    key, end = _scan(_VALUES, text, position)
    return key, _after(_COLON, text, end, "expected a colon")


def _separator(text: str, position: int) -> tuple[int, bool]:
    match = _NEXT.match(text, position)
    if not match:
        _syntax("expected a comma or the end of the object", text, position)
    return match.end(), match[1] == ","


def _finish(text: str, position: int) -> None:
    _after(_END, text, position, "expected the end of the body")


def _after(pattern: re.Pattern[str], text: str, position: int, problem: str = "") -> int:
    match = pattern.match(text, position)
    if not match:
        _syntax(problem, text, position)
    return match.end()


def _scan(decoder: json.JSONDecoder, text: str, position: int, key: str | None = None) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        _syntax(error.msg[:1].lower() + error.msg[1:], text, error.pos, key)
    except BadJson as error:
        path = error.path if key is None else (key, *error.path)
        raise BadJson(error.kind, error.message, path) from None
    except RecursionError:
        raise BadJson("depth", "the body is nested too deeply", () if key is None else (key,)) from None


def _check(text: str, position: int, key: str) -> tuple[bytes, int]:
    _, end = _scan(_CHECKING, text, position, key)
    return text[position:end].encode(), end


def _syntax(problem: str, text: str, position: int, key: str | None = None) -> NoReturn:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    raise BadJson("syntax", f"{problem} at line {line} column {column}", () if key is None else (key,))


def _parts(value: object, room: int, key: str) -> int:
    """How many members and items a value has on all levels; BadJson when there are more than `room`."""
    count, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            count += len(one)
            if count > room:
                _too_many(key)
            waiting += one.values() if isinstance(one, dict) else one
    return count


def _too_many(key: str) -> NoReturn:
    raise BadJson("size", f"the body has more than {MAX_PARTS} members and items", (key,))


def _duplicate(key: str) -> NoReturn:
    raise BadJson("duplicate_key", "a member name is repeated", (key,))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                _duplicate(key)
            seen.add(key)
    return members


def _no_object(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        _unique(pairs)


def _constant(name: str) -> NoReturn:
    raise BadJson("constant", f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_NUMBER:
        raise BadJson("number", f"a number here has at most {MAX_NUMBER} characters")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if len(digits) > MAX_NUMBER or number in {float("inf"), float("-inf")}:
        raise BadJson("number", "a number here is out of range")
    return number


def _decoder(
    parse_int: Callable[[str], Any],
    parse_float: Callable[[str], Any],
    hook: Callable[[list[tuple[str, Any]]], Any],
) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=hook, parse_int=parse_int, parse_float=parse_float, parse_constant=_constant
    )


_VALUES = _decoder(_integer, _float, _unique)
# Objects are not kept, and numbers stay text, so that none is too large.
_CHECKING = _decoder(str, str, _no_object)
