"""Places and networks of addresses, from databases that the operator supplies (MaxMind's format, `.mmdb`)."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import maxminddb
from maxminddb import Reader

from app.domain.places import NOWHERE_KNOWN, Place

LANGUAGE = "en"


class Places:
    """Looks addresses up; what the databases do not know, and without databases everything, is unknown.

    `cities` tells places, `networks` numbers of autonomous systems; one database may be both.
    """

    def __init__(self, cities: Path | None = None, networks: Path | None = None) -> None:
        self._open = ExitStack()
        self._cities = self._reader(cities)
        self._networks = self._reader(networks)

    def find(self, address: str | None) -> Place:
        """The place of an address."""
        if address is None:
            return NOWHERE_KNOWN
        city, network = _ask(self._cities, address), _ask(self._networks, address)
        point: Mapping[str, Any] = city.get("location", {})
        return Place(
            country=city.get("country", {}).get("iso_code"),
            name=_name(city),
            latitude=point.get("latitude"),
            longitude=point.get("longitude"),
            network=network.get("autonomous_system_number"),
        )

    def close(self) -> None:
        """Closes the files."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reader(self, path: Path | None) -> Reader | None:
        return None if path is None else self._open.enter_context(maxminddb.open_database(path))


def _ask(reader: Reader | None, address: str) -> Mapping[str, Any]:
    found = None if reader is None else reader.get(address)
    return found if isinstance(found, Mapping) else {}


def _name(city: Mapping[str, Any]) -> str | None:
    names = [city.get(kind, {}).get("names", {}).get(LANGUAGE) for kind in ("city", "country")]
    return ", ".join(one for one in names if one) or None
