"""JSON as someone else may write it: numbers of any size, escapes, blanks, depth; and what only looks like JSON."""

import json

from hypothesis import strategies as st

BLANKS = st.sampled_from(["", "", "", " ", "\n\t", "\r\n "])
NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(min_value=1, max_value=3000).map(lambda digits: "9" * digits),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
)
PLAIN = st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32))) + '"\\')
HALVES = range(0xD800, 0xE000)
ESCAPES = st.one_of(
    st.sampled_from([r"\"", r"\\", r"\/", r"\b", r"\f", r"\n", r"\r", r"\t"]),
    st.integers(min_value=1, max_value=0xFFFF)
    .filter(lambda code: code not in HALVES)
    .map(lambda code: rf"\u{code:04x}"),
    st.integers(min_value=0x10000, max_value=0x10FFFF).map(
        lambda code: json.dumps(chr(code))[1:-1].upper().replace("U", "u")
    ),
)
STRINGS = st.lists(PLAIN | ESCAPES, max_size=8).map(lambda parts: f'"{"".join(parts)}"')
LEAVES = st.one_of(st.sampled_from(["null", "true", "false"]), NUMBERS, STRINGS)


def _array(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    inner = st.lists(items, max_size=4)
    return st.builds(lambda parts, blank: f"[{blank}{f',{blank}'.join(parts)}{blank}]", inner, BLANKS)


def _object(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(STRINGS, items), max_size=4, unique_by=lambda one: json.loads(one[0]))
    return st.builds(
        lambda pairs, blank: f"{{{blank}{f'{blank},'.join(f'{name}{blank}:{value}' for name, value in pairs)}{blank}}}",
        members,
        BLANKS,
    )


def _nested(text: str, levels: int) -> str:
    return '{"a":[' * (levels // 2) + text + "]}" * (levels // 2)


VALUES = st.recursive(LEAVES, lambda inner: _array(inner) | _object(inner), max_leaves=12)
FLAT_OBJECTS = _object(LEAVES)
OBJECTS = _object(VALUES)
# One level is the message's own, and one the innermost object.
DEEP_OBJECTS = st.builds(_nested, FLAT_OBJECTS, st.integers(min_value=2, max_value=62))
PAYLOADS = OBJECTS | DEEP_OBJECTS
# Each breaks some rule somewhere, and none everywhere: within a string most are harmless.
NASTY = (
    *(
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xe2\x82",
        b"\xef\xbb\xbf",
        b"\x00",
        rb"\u0000",
        rb"\ud800",
        rb"\udc00\ud800",
    ),
    *(b"NaN", b"-Infinity", b"1e999", b"01", b"+1", b"nul", b"'", b'"', b"\\", b"\n", b"\x1f", b"\x7f", b"/**/"),
    *(b"{", b"}", b"[", b"]", b":", b",", b"[" * 65 + b"]" * 65, b'{"a":' * 65, b'"payload":{},', b'"eventType":"b",'),
)


def broken(texts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Texts into which something was put, or out of which, or behind which."""
    places = st.integers(min_value=0, max_value=2**16)
    return st.one_of(
        st.builds(_put, texts, places, st.sampled_from(NASTY)),
        st.builds(lambda text, at: text[: at % len(text)], texts, places),
        st.builds(lambda text, at: text[: at % len(text)] + text[at % len(text) + 1 :], texts, places),
        st.builds(lambda text, at, byte: _put(text, at, bytes([byte])), texts, places, st.integers(0, 255)),
        st.builds(lambda text, at: text + text[at % len(text) :], texts, places),
        st.binary(max_size=50),
    )


def _put(text: bytes, at: int, what: bytes) -> bytes:
    at %= len(text) + 1
    return text[:at] + what + text[at:]
