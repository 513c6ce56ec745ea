"""How psycopg writes arrays: as psycopg does, but for the ones that a batch is made of, at once."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap
from psycopg.types.array import ListDumper


def adapters() -> AdaptersMap:
    """Psycopg's own, with our arrays; the `context` of a connection."""
    ours = AdaptersMap(psycopg.adapters)
    ours.register_dumper(list, ArrayDumper)
    return ours


class ArrayDumper(ListDumper):
    """Writes lists of values in one go: one element after the other takes five times as long."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        """The array's text."""
        kinds = set(map(type, obj))
        kinds.discard(_NONE)
        write = _WRITERS.get(kinds.pop()) if len(kinds) == 1 else None
        if write is None:
            return super().dump(obj)
        if None in obj:
            return _array(["NULL" if one is None else write([one])[0] for one in obj])
        return _array(write(obj))


def _array(elements: list[str]) -> bytes:
    return f"{{{','.join(elements)}}}".encode()


def _ids(values: list[UUID]) -> list[str]:
    return [one.hex for one in values]


def _texts(values: list[str]) -> list[str]:
    together = "".join(values)
    if "\\" in together or '"' in together:
        values = [one.replace("\\", "\\\\").replace('"', '\\"') for one in values]
    return [f'"{one}"' for one in values]


def _bytes(values: list[bytes]) -> list[str]:
    return [f'"\\\\x{one.hex()}"' for one in values]


def _flags(values: list[bool]) -> list[str]:
    return ["t" if one else "f" for one in values]


def _moments(values: list[Any]) -> list[str]:
    return [f'"{one}"' for one in values]


_NONE = type(None)
_WRITERS: Mapping[type, Callable[[list[Any]], list[str]]] = {
    UUID: _ids,
    int: lambda values: list(map(str, values)),
    str: _texts,
    bytes: _bytes,
    bool: _flags,
    datetime: _moments,
}
