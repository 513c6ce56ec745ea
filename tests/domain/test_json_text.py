"""JSON bodies: what is kept byte for byte, and everything that is refused."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.json_text import BadJson, Document, is_object, loads, read_object

PAYLOAD = frozenset({"payload"})
STRINGS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), STRINGS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(STRINGS, inner, max_size=4))
)
OBJECTS = st.dictionaries(STRINGS, VALUES, max_size=5)


def read(text: str | bytes, max_depth: int = 64) -> Document:
    body = text if isinstance(text, bytes) else text.encode()
    return read_object(body, raw=PAYLOAD, max_depth=max_depth)


def refused(text: str | bytes, max_depth: int = 64) -> BadJson:
    with pytest.raises(BadJson) as caught:
        read(text, max_depth)
    return caught.value


PAYLOADS = [
    "{}", "[]", "null", '"x"', "0", "-0", "1E400", "1e-999999", "9" * 100_000, "1." + "0" * 10_000,
    '{ "b" : 1.0,\n\t"a":1e5 }', '{"é":"\\u00e9\\ud83d\\ude00/\\/","\\n":"日本"}',
    '{"a":"\\\\u0000 \\\\ud800"}',
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("shape", ['{"payload":%s}', ' {\n"eventType" :\t"a",\r\n"payload" : %s , "n":1} '])
def test_payload_is_kept_byte_for_byte(payload: str, shape: str) -> None:
    document = read(shape % payload)
    assert document.raw == {"payload": payload.encode()}
    assert document.values == ({"eventType": "a", "n": 1} if "eventType" in shape else {})


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1]))
def test_agrees_with_the_standard_library(
    value: dict[str, Any],
    ascii_only: bool,  # noqa: FBT001
    indent: int | None,
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    document = read(text)
    kept = {key: json.loads(source) for key, source in document.raw.items()}
    assert document.values | kept == value == loads(text.encode())
    assert all(source.decode() in text for source in document.raw.values())


@given(VALUES, st.booleans())
def test_any_payload_comes_back_as_written(value: Any, ascii_only: bool) -> None:  # noqa: ANN401, FBT001
    source = json.dumps(value, ensure_ascii=ascii_only)
    assert read('{"a": 1, "payload": ' + source + "}").raw["payload"] == source.encode()


@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
@example(b'{"payload":')
@example(b'{"payload":1}}')
def test_any_bytes_are_a_document_or_bad(body: bytes) -> None:
    try:
        document = read(body)
    except BadJson:
        return
    assert json.loads(body).keys() == document.values.keys() | document.raw.keys()


MOST = 10_000


def items(count: int, one: str = "1") -> str:
    return f"[{','.join([one] * count)}]"


def members(count: int, value: str = "1") -> str:
    return ",".join(f'"k{number}":{value}' for number in range(count))


@pytest.mark.parametrize(
    "text",
    [
        f"{{{members(MOST)}}}",
        f'{{"a":{items(MOST - 1)}}}',
        f'{{"a":{{{members(MOST - 1)}}}}}',
        f'{{"payload":{items(20_000)},"a":{items(MOST - 1)}}}',
        f'{{"a":1,"payload":{{{members(20_000)}}}}}',
    ],
)
def test_ten_thousand_parts_are_taken_and_any_number_in_a_payload(text: str) -> None:
    document = read(text)
    assert json.loads(text).keys() == document.values.keys() | document.raw.keys()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"{{{members(MOST + 1)}}}", (f"k{MOST}",)),
        (f"{{{members(MOST + 1, '[]')}}}", (f"k{MOST}",)),
        (f'{{"a":{items(MOST + 1)}}}', ("a",)),
        (f'{{"a":{items(MOST // 2 + 1, "[1]")}}}', ("a",)),
        (f'{{"a":{items(MOST // 2)},"b":{items(MOST // 2)}}}', ("b",)),
        (f'{{"a":{{{members(MOST)}}}, "b": 1}}', ("a",)),
    ],
)
def test_more_parts_are_refused_by_name(text: str, path: tuple[str, ...]) -> None:
    error = refused(text)
    assert (error.kind, error.path) == ("size", path)


ALPHABET = [
    "{", "}", "[", "]", ",", ":", " ", "\n", '"payload"', '"a"', '"\\u0061"', "1", "-", ".5", "e9",
    "tru", "true", "NaN", "Infinity", "-Infinity", '"\\ud800"', '"\\u0000"', "\\", '"', "\x00", "\x01",
    "//",
]  # fmt: skip


@given(st.lists(st.sampled_from(ALPHABET), max_size=12).map(lambda parts: "{" + "".join(parts) + "}"))
def test_accepts_nothing_that_the_standard_library_refuses(text: str) -> None:
    try:
        document = read(text)
    except BadJson:
        return
    parsed = json.loads(text)
    assert document.values.keys() | document.raw.keys() == parsed.keys()
    assert all(json.loads(source) == parsed[key] for key, source in document.raw.items())


REFUSED = [
    (b"", "syntax"), (b"  ", "syntax"), (b"{", "syntax"), (b"}", "syntax"), (b'{"a"}', "syntax"),
    (b'{"a":}', "syntax"), (b'{"a":1,}', "syntax"), (b'{,"a":1}', "syntax"), (b"{a:1}", "syntax"),
    (b"{'a':1}", "syntax"), (b'{"a":1} x', "syntax"), (b'{"a":1}{}', "syntax"), (b'{"a":01}', "syntax"),
    (b'{"a":"\n"}', "syntax"), (b'{"a\n":1}', "syntax"), (b'{"a":"\\x"}', "syntax"),
    (b'{"a":"\\u12"}', "syntax"), (b'{"a":1 "b":2}', "syntax"), (b'{"a" 1}', "syntax"),
    (b'{"payload":{"a":}}', "syntax"), (b"\x0c{}", "syntax"), (b"[]", "not_an_object"),
    (b"1", "not_an_object"), (b'"a"', "not_an_object"), (b"null", "not_an_object"),
    (b"\xef\xbb\xbf{}", "encoding"), (b'{"a":"\xff"}', "encoding"),
    (b'{"a":"\xed\xa0\x80"}', "encoding"), (b'{"a":"\xc0\x80"}', "encoding"),
    ("{}".encode("utf-16"), "encoding"), ("{}".encode("utf-16-le"), "nul"), (b'{"a":"\x00"}', "nul"),
    (b"{}\x00", "nul"), (b'{"a":"\\u0000"}', "nul"), (b'{"\\u0000":1}', "nul"),
    (b'{"payload":{"b":["\\\\\\u0000"]}}', "nul"), (b'{"a":"\\ud800"}', "surrogate"),
    (b'{"a":"\\uDC00"}', "surrogate"), (b'{"a":"\\ud800\\ud800"}', "surrogate"),
    (b'{"a":"\\udc00\\ud800"}', "surrogate"), (b'{"a":"\\ud83dx\\ude00"}', "surrogate"),
    (b'{"payload":{"\\udfff":1}}', "surrogate"), (b'{"a":1,"a":2}', "duplicate_key"),
    (b'{"a":1,"\\u0061":2}', "duplicate_key"), (b'{"payload":1,"payload":1}', "duplicate_key"),
    (b'{"payload":[{"b":1,"b":1}]}', "duplicate_key"), (b'{"a":{"b":{"c":1,"c":2}}}', "duplicate_key"),
    (b'{"a":NaN}', "constant"), (b'{"payload":[Infinity]}', "constant"),
    (b'{"payload":-Infinity}', "constant"), (b'{"a":1e999}', "number"), (b'{"a":-1e999}', "number"),
    (b'{"a":' + b"9" * 1001 + b"}", "number"), (b'{"a":' + b"9" * 5000 + b"}", "number"),
    (b'{"a":0.' + b"9" * 5000 + b"}", "number"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind"), REFUSED)
def test_refused(body: bytes, kind: str) -> None:
    assert refused(body).kind == kind


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"a":{"b":NaN}}', ("a",)),
        ('{"payload":{"b":1,"b":1}}', ("payload", "b")),
        ('{"a":1,"a":1}', ("a",)),
        ('{"payload":[1,}', ("payload",)),
        ("[]", ()),
    ],
)
def test_path_names_the_member(body: str, path: tuple[str, ...]) -> None:
    assert refused(body).path == path


def test_syntax_says_where_without_repeating_the_body() -> None:
    error = refused('{\n "secret": x}')
    assert error.message == "expecting value at line 2 column 12"


@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth(pair: tuple[str, str]) -> None:
    start, end = pair
    levels = 63 // len(pair[1])
    spare = "[]," * 200
    fits = '{"payload":[' + spare + start * (levels - 1) + "1" + end * (levels - 1) + "]}"
    assert read(fits, levels * len(end) + 1).raw
    deep = '{"payload":[' + spare + start * levels + "1" + end * levels + "]}"
    assert refused(deep, levels * len(end) + 1).kind == "depth"


@pytest.mark.parametrize("levels", [63, 64, 100, 100_000])
def test_depth_counts_the_outer_object(levels: int) -> None:
    body = '{"payload":' + "[" * levels + "]" * levels + "}"
    if levels < 64:
        assert read(body).raw
    else:
        assert refused(body).kind == "depth"


def test_brackets_in_strings_are_no_depth() -> None:
    assert read('{"payload":"' + '[{\\"' * 1000 + '"}').raw


def test_unbalanced_brackets_are_refused() -> None:
    assert refused('{"payload":' + "[" * 500_000).kind in {"syntax", "depth"}
    assert refused('{"payload":' + "[" * 500 + "]" * 499 + "}").kind in {"syntax", "depth"}
    assert refused('{"payload":' + "[}" * 100 + "}").kind == "syntax"


HOSTILE = [
    '{"payload":' + "9" * (1 << 20) + "}",
    '{"payload":[' + "{}," * 349_000 + "1]}",
    '{"payload":[' + "[]," * 349_000 + "1]}",
    '{"payload":[' + '{"":1},' * 149_000 + "1]}",
    '{"payload":"' + "\\u00e9" * 174_000 + '"}',
    '{"payload":"' + "\\" * (1 << 20),
    '{"payload":' + "[" * (1 << 19) + "]" * (1 << 19) + "}",
    '{"payload":' + "[{" * (1 << 19),
    '{"payload":' + '"' * (1 << 20),
    "{" + ",".join(f'"{number:06}":1' for number in range(95_000)) + "}",
    " " * (1 << 20),
    "{" + " " * (1 << 20),
    '{"a":1' + " " * (1 << 20),
    '{"a":1}' + " " * (1 << 20) + "x",
    '{"a"' + " " * (1 << 20) + "x",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_f23_a_hostile_mib_is_read_in_bounded_time(number: int) -> None:
    """F23: no MiB makes reading it more than linear work."""
    started = time.process_time()
    with contextlib.suppress(BadJson):
        read(HOSTILE[number])
    assert time.process_time() - started < 2


@pytest.mark.parametrize("body", [b"1", b" [1, 2] ", b'"x"', b"null", b'{"a": {"b": []}}'])
def test_loads_any_value(body: bytes) -> None:
    assert loads(body) == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"", b"1 2", b'{"a":1,"a":1}', b"[NaN]", b'"\\ud800"', b"9" * 5000, b"[" * 65 + b"]" * 65]
)
def test_loads_keeps_the_same_rules(body: bytes) -> None:
    with pytest.raises(BadJson):
        loads(body)


@pytest.mark.parametrize("text", ["{}", ' {"a": [1, {}]} ', '{"a":' + "9" * 10_000 + ', "b": 1e999}'])
def test_an_object_is_one_whatever_its_numbers(text: str) -> None:
    assert is_object(text.encode())


@pytest.mark.parametrize("text", ["", "[]", "1", '"{}"', "{} {}", '{"a": 1, "a": 1}', '{"a": NaN}', "{"])
def test_what_is_no_object_is_none(text: str) -> None:
    assert not is_object(text.encode())
