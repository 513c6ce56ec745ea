"""Which URLs an endpoint may have: what the address rules allow, and not Postrider's own API."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from posixpath import normpath
from typing import Self
from urllib.parse import unquote, urlsplit
from uuid import UUID

from app.domain.addresses import Allowance, BadUrl, CheckedUrl, Network, check_url, is_allowed
from app.domain.probe import PROBE

_PORTS = {"http": 80, "https": 443}
_LOCAL = "localhost"
_SLASHES = re.compile("/{2,}")


@dataclass(frozen=True, slots=True)
class Destinations:
    """The rules of one installation; `public_url` is where its API answers.

    The probe's organisation alone may also call its receiver, at `probe`.
    """

    public_url: str
    allow: Sequence[Allowance] = ()
    deny: Sequence[Network] = ()
    allowed_ports: Collection[int] = (80, 443)
    https_only: bool = False
    probe: Allowance | None = None

    def of(self, organisation_id: UUID) -> Self:
        """The rules for an organisation."""
        if self.probe is None or organisation_id != PROBE:
            return self
        return replace(self, allow=(*self.allow, self.probe))

    def check(self, url: str) -> None:
        """BadUrl unless an endpoint may have this URL."""
        found = check_url(url, allow=self.allow, allowed_ports=self.allowed_ports, https_only=self.https_only)
        if found.address and not is_allowed(str(found.address), found.port, self.allow, self.deny):
            raise BadUrl("the address is not allowed")
        if self._is_own(found):
            raise BadUrl("the URL is Postrider's own API, which would send its messages to itself")

    def _is_own(self, found: CheckedUrl) -> bool:
        own = urlsplit(self.public_url)
        port = own.port or _PORTS.get(own.scheme, 0)
        if (_host(found.host), found.port) != (_host(own.hostname or ""), port):
            return False
        api = f"{_path(own.path)}/api".replace("//", "/")
        return f"{_path(urlsplit(found.url).path)}/".startswith(f"{api}/")


def _host(text: str) -> str:
    """The host, with one name for this machine."""
    is_local = text == _LOCAL or text.endswith("." + _LOCAL) or text == "::1" or text.startswith("127.")
    return _LOCAL if is_local else text.lower()


def _path(text: str) -> str:
    """The path as the lenient server reads it."""
    return normpath(_SLASHES.sub("/", unquote(text) or "/"))
