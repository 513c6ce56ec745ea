"""Examples of JSON Schemas."""

from typing import Any

import pytest

from app.domain.examples import example_of, given_examples


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}}, {"a": 0, "b": True}),
        ({"properties": {"a": {"type": ["null", "string"]}}}, {"a": "string"}),
        ({"type": "array", "items": {"type": "number", "minimum": 3}}, [3]),
        ({"items": {"type": "null"}}, [None]),
        ({"type": "array"}, []),
        ({"type": "string", "format": "date-time"}, "2026-01-31T12:00:00Z"),
        ({"type": "string", "enum": ["x", "y"]}, "x"),
        ({"const": 5}, 5),
        ({"type": "integer", "default": 7}, 7),
        ({"example": {"a": 1}, "type": "object"}, {"a": 1}),
        ({"examples": [{"a": 1}, {"a": 2}]}, {"a": 1}),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "string"),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"const": 4}}}, 4),
        ({"$ref": "#/$defs/a~1b~0c", "$defs": {"a/b~c": {"const": 4}}}, 4),
        ({"$ref": "https://example.com/schema"}, None),
        ({"$ref": "#/nowhere/at/all"}, None),
        ({}, None),
        (True, None),
        (None, None),
    ],
)
def test_an_example_follows_the_schema(schema: object, example: object) -> None:
    assert example_of(schema) == example


def test_a_schema_that_contains_itself_ends() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    found, depth = example_of(schema), 0
    while found:
        found, depth = found["next"], depth + 1
    assert 1 < depth < 20


def test_listed_examples_are_found() -> None:
    assert given_examples({"examples": [1, 2]}) == [1, 2]
    assert given_examples({"examples": []}) is None
    assert given_examples({"examples": 1}) is None
