"""Whence somebody signs in."""

from dataclasses import dataclass
from ipaddress import ip_address
from uuid import UUID

from app.domain.addresses import Address
from app.domain.audit import Where
from app.domain.browsers import Browser
from app.domain.places import NOWHERE_KNOWN, Place
from app.kit.user_agents import browser_of


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Whence somebody signs in, as trusted proxies tell.

    `device_id` is what the device's cookie says, which may be nobody's.
    """

    where: Where
    device_id: UUID | None = None
    languages: str = ""
    place: Place = NOWHERE_KNOWN

    @property
    def browser(self) -> Browser:
        """What the browser says of itself. Reading it takes a while, so nobody asks before something was proved."""
        return browser_of(self.where.user_agent, self.languages)

    @property
    def address(self) -> Address | None:
        """The address."""
        return None if self.where.ip is None else ip_address(self.where.ip)
