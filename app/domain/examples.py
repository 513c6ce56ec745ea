"""An example of what a JSON Schema describes."""

from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 16
_STRINGS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
}


def given_examples(schema: Mapping[str, Any]) -> list[Any] | None:
    """The examples that a schema lists; None when it lists none."""
    examples = schema.get("examples")
    return examples if isinstance(examples, list) and examples else None


def example_of(schema: object) -> Any:  # noqa: ANN401
    """A value of the schema: its own example where there is one, else made from its types. What is too deep is null."""
    return _Maker(schema).make(schema, 0)


class _Maker:
    def __init__(self, root: object) -> None:
        self._root = root

    def make(self, schema: object, depth: int) -> Any:  # noqa: ANN401
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            return None
        if "$ref" in schema:
            return self.make(self._resolve(schema["$ref"]), depth + 1)
        stated = _stated(schema)
        return stated[0] if stated else self._made(schema, depth)

    def _made(self, schema: Mapping[str, Any], depth: int) -> Any:  # noqa: ANN401
        for choice in ("oneOf", "anyOf"):
            if isinstance(schema.get(choice), list) and schema[choice]:
                return self.make(schema[choice][0], depth + 1)
        if isinstance(schema.get("allOf"), list):
            return self._merged(schema["allOf"], depth)
        return self._of_type(schema, depth)

    def _merged(self, schemas: list[Any], depth: int) -> dict[str, Any]:
        parts = [self.make(one, depth + 1) for one in schemas]
        return {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:  # noqa: ANN401
        type_ = _type(schema)
        if type_ == "object":
            properties = schema.get("properties")
            members = properties if isinstance(properties, Mapping) else {}
            return {name: self.make(one, depth + 1) for name, one in members.items()}
        if type_ == "array":
            return [self.make(schema["items"], depth + 1)] if "items" in schema else []
        return _scalar(schema, type_)

    def _resolve(self, reference: object) -> object:
        """What a reference within the schema points at; null for one that leaves it or leads nowhere."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        return found


def _stated(schema: Mapping[str, Any]) -> list[Any]:
    listed = given_examples(schema) or (schema["enum"] if isinstance(schema.get("enum"), list) else [])
    return [schema[name] for name in ("example", "const", "default") if name in schema] or listed


def _type(schema: Mapping[str, Any]) -> object:
    type_ = schema.get("type")
    if isinstance(type_, list):
        return next((one for one in type_ if one != "null"), "null")
    return type_ or ("object" if "properties" in schema else "array" if "items" in schema else None)


def _scalar(schema: Mapping[str, Any], type_: object) -> Any:  # noqa: ANN401
    if type_ == "string":
        return _STRINGS.get(str(schema.get("format")), "string")
    if type_ in {"integer", "number"}:
        return schema.get("minimum", 0)
    return True if type_ == "boolean" else None
