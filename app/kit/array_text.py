"""Arrays as PostgreSQL reads them from text: written in one go, by the type of their elements."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, DateTime, Float, Integer, LargeBinary, Text, Uuid
from sqlalchemy.types import TypeEngine

from app.kit.sql import Tid

Write = Callable[[list[Any]], list[str]]


def write(values: list[Any], elements: Write) -> str:
    """The array's text; None becomes NULL."""
    if _NONE in map(type, values):
        texts = iter(elements([one for one in values if one is not None]))
        return _array(["NULL" if one is None else next(texts) for one in values])
    return _array(elements(values))


def texts(values: Sequence[str]) -> str:
    """An array of texts."""
    return _array(_texts(values))


def elements_of(kind: TypeEngine[Any]) -> Write:
    """How elements of a type are written; TypeError for a type that nobody has needed yet."""
    for one, writes in _WRITERS.items():
        if isinstance(kind, one):
            return writes
    msg = f"no text is known for elements of {kind!r}; say in {__name__} how they are written"
    raise TypeError(msg)


def _array(elements: list[str]) -> str:
    return f"{{{','.join(elements)}}}"


def _ids(values: list[UUID]) -> list[str]:
    return [one.hex for one in values]


def _numbers(values: list[float]) -> list[str]:
    return list(map(str, values))


def _texts(values: Sequence[str]) -> list[str]:
    together = "".join(values)
    if "\\" in together or '"' in together:
        values = [one.replace("\\", "\\\\").replace('"', '\\"') for one in values]
    return [f'"{one}"' for one in values]


def _bytes(values: list[bytes]) -> list[str]:
    return [f'"\\\\x{one.hex()}"' for one in values]


def _flags(values: list[bool]) -> list[str]:
    return ["t" if one else "f" for one in values]


def _moments(values: list[datetime]) -> list[str]:
    return [f'"{one}"' for one in values]


_NONE = type(None)
_WRITERS: Mapping[type[TypeEngine[Any]], Write] = {
    Uuid: _ids,
    Integer: _numbers,
    Float: _numbers,
    Text: _texts,
    LargeBinary: _bytes,
    Boolean: _flags,
    DateTime: _moments,
    Tid: _texts,
}
