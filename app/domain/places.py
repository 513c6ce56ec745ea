"""Where addresses are, how far apart, and which of them one network holds."""

from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from math import asin, cos, radians, sin, sqrt

from app.domain.addresses import Address

EARTH_KM = 6371.0
V4_BLOCK, V6_BLOCK = 16, 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is, as far as the operator's database knows; `network` is the number of its system (ASN)."""

    country: str | None = None
    name: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    network: int | None = None

    @property
    def point(self) -> tuple[float, float] | None:
        """Latitude and longitude, where both are known."""
        return None if self.latitude is None or self.longitude is None else (self.latitude, self.longitude)


NOWHERE_KNOWN = Place()


def distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The way between two points over the ground."""
    (lat1, lon1), (lat2, lon2) = [(radians(lat), radians(lon)) for lat, lon in (one, other)]
    half = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_KM * asin(sqrt(min(1.0, half)))


def block_of(address: Address) -> str:
    """The block that stands for an address's network where the operator gave no list of them."""
    prefix = V4_BLOCK if isinstance(address, IPv4Address) else V6_BLOCK
    return str(ip_network((address, prefix), strict=False))
