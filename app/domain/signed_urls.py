"""Links that carry their own permission: to GET one path with one query, for one organisation, until a moment."""

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from operator import itemgetter
from urllib.parse import parse_qsl, quote, urlencode
from uuid import UUID

from app.domain.ids import decode, encode

PARAMETER = "link"
LONGEST = 7 * 24 * 3600
"""Seconds that a link is good for, at most."""

_METHOD = "GET"
_MOST_PARAMETERS = 100
# None of these characters has a meaning in a URL, nor does a mail program end a link before one of them.
_LINK = re.compile(
    r"(?P<key_id>[A-Za-z0-9_.-]{1,32})~(?P<expires>[1-9][0-9]{0,11})~(?P<organisation>org_[0-9a-z]{26})"
    r"~(?P<once>(?:[0-9a-f]{32})?)~(?P<bound>(?:ip)?)"
)

Query = Sequence[tuple[str, str]]


class BadLink(ValueError):
    """This is no link of ours, or not for this request."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says of itself: `expires` is in Unix seconds, `once` names a link that works once.

    A `bound` link works from the address alone that it was made for, which it does not tell.
    """

    key_id: str
    expires: int
    organisation_id: UUID
    once: UUID | None = None
    bound: bool = False

    @property
    def text(self) -> str:
        """What is written before the signature."""
        once = self.once.hex if self.once else ""
        bound = "ip" if self.bound else ""
        return "~".join([self.key_id, str(self.expires), encode("org", self.organisation_id), once, bound])


@dataclass(frozen=True, slots=True)
class Target:
    """What a link opens: the decoded path, and the parameters of its query; values of one name keep their order.

    `address` is whom it is for, or who asks.
    """

    method: str
    path: str
    query: Query
    address: str | None = None


def sign(key: bytes, link: Link, path: str, query: Query, address: str | None = None) -> str:
    """The path and query of a link; ValueError when it is bound and `address` is none."""
    signature = _signature(key, link, Target(_METHOD, path, query, address))
    return f"{quote(path)}?{urlencode([*query, (PARAMETER, f'{link.text}~{signature}')])}"


def split(query_string: str) -> tuple[Link, str, Query]:
    """The link in a query, its signature, and the query without it. Raises BadLink."""
    try:
        query = parse_qsl(query_string, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise BadLink("too many parameters") from None
    texts = [value for name, value in query if name == PARAMETER]
    if len(texts) != 1:
        raise BadLink("one link is needed")
    said, _, signature = texts[0].rpartition("~")
    return _read(said), signature, [(name, value) for name, value in query if name != PARAMETER]


def is_good(key: bytes, link: Link, signature: str, target: Target) -> bool:
    """Tell in constant time whether this key signed the link for this target; not whether it has expired.

    ValueError when the link is bound and the target has no address.
    """
    return hmac.compare_digest(_signature(key, link, target).encode(), signature.encode())


def plain_address(text: str) -> str:
    """An IP address in one spelling, IPv4 wherever it is one; ValueError for anything else."""
    address = ip_address(text)
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)


def _read(text: str) -> Link:
    match = _LINK.fullmatch(text)
    organisation_id = decode("org", match["organisation"]) if match else None
    if match is None or organisation_id is None:
        raise BadLink("not written here")
    once = UUID(match["once"]) if match["once"] else None
    return Link(match["key_id"], int(match["expires"]), organisation_id, once, bool(match["bound"]))


def _signature(key: bytes, link: Link, target: Target) -> str:
    address = plain_address(target.address or "") if link.bound else ""
    pairs = [text for pair in sorted(target.query, key=itemgetter(0)) for text in pair]
    parts = [part.encode("utf-8", "surrogatepass") for part in (link.text, target.method, target.path, address, *pairs)]
    # Lengths first, so that nothing can move from one part to the next.
    signed = b"".join([b"%d:%b" % (len(part), part) for part in parts])
    return base64.urlsafe_b64encode(hmac.digest(key, signed, sha256)).rstrip(b"=").decode("ascii")
