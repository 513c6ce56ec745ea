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
    """Writes lists of ids, integers and moments in one go: one element after the other takes five times as long."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        """The array's text."""
        write = _WRITERS.get(type(obj[0])) if obj else None
        if write is None or any(one is None for one in obj):
            return super().dump(obj)
        return write(obj).encode()


def _ids(values: list[UUID]) -> str:
    return "{" + ",".join([one.hex for one in values]) + "}"


def _integers(values: list[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _moments(values: list[datetime]) -> str:
    return '{"' + '","'.join(map(str, values)) + '"}'


_WRITERS: Mapping[type, Callable[[list[Any]], str]] = {UUID: _ids, int: _integers, datetime: _moments}
