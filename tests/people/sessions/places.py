"""Databases of places and networks, as an operator has them, of addresses that documentation owns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

HOME, SYDNEY, GRAZ = "198.51.100.7", "203.0.113.9", "192.0.2.5"
CITIES = {HOME: ("AT", "Austria", "Vienna", 48.2, 16.37), SYDNEY: ("AU", "Australia", "Sydney", -33.87, 151.2)}
SYSTEMS = {HOME: 64500, SYDNEY: 64501, GRAZ: 64500}


def write_cities(path: Path) -> Path:
    """A database of cities."""
    return _write(path, "Test-City", {address: _city(*given) for address, given in CITIES.items()})


def write_networks(path: Path) -> Path:
    """A database of autonomous systems."""
    return _write(path, "Test-ASN", {one: {"autonomous_system_number": number} for one, number in SYSTEMS.items()})


def _city(code: str, country: str, city: str, latitude: float, longitude: float) -> Mapping[str, Any]:
    return {
        "country": {"iso_code": code, "names": {"en": country}},
        "city": {"names": {"en": city}},
        "location": {"latitude": latitude, "longitude": longitude},
    }


def _write(path: Path, kind: str, known: Mapping[str, Any]) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=kind)
    for address, said in known.items():
        writer.insert_network(IPSet([f"{address.rpartition('.')[0]}.0/24"]), dict(said))
    writer.to_db_file(str(path))
    return path
