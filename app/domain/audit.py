"""Audit events: who did what to what, from where, and how it ended. What they say cannot break out of a line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Any
from uuid import UUID

SYSTEM = UUID(int=0)
"""Stands in the place of the organisation where there is none: an unknown credential, an act on the installation."""
MAX_TEXT = 256
MAX_USER_AGENT = 512
MAX_DETAILS = 8192
MAX_DEPTH = 8
EXACT = 2**53
CUT = "…"


class Outcome(StrEnum):
    """How it ended."""

    success = "success"
    refused = "refused"
    failed = "failed"


def plain(text: str, most: int = MAX_TEXT) -> str:
    """The text on one line, without control characters, escapes of terminals or marks that turn it round.

    What does not print stands there by its code; what is longer than `most` is cut.
    """
    shown = text if text.isprintable() else "".join(one if one.isprintable() else _code(one) for one in text[:most])
    return shown if len(shown) <= most else shown[: most - 1] + CUT


def _code(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 the last of four digits


def address(text: str | None) -> str | None:
    """An IP address as it is written canonically, an IPv4 one that came in IPv6's clothes without them; else None."""
    try:
        found = ip_address(text or "")
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found).partition("%")[0]


class _Plain:
    """A value whose texts are plain."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]  # each that inherits is a dataclass
            value = getattr(self, one.name)
            if isinstance(value, str):
                object.__setattr__(self, one.name, plain(value, one.metadata.get("most", MAX_TEXT)))


@dataclass(frozen=True)
class Actor(_Plain):
    """Who: `kind` is such as `key`, `portal`, `operator`, `anonymous`; `label` is for people."""

    kind: str
    id: str = ""
    label: str = ""


@dataclass(frozen=True)
class Target(_Plain):
    """What it was done to."""

    kind: str = ""
    id: str = ""
    label: str = ""


@dataclass(frozen=True)
class Where(_Plain):
    """Where it came from, and who acted in the actor's place. What is no IP address is none."""

    ip: str | None = None
    user_agent: str = field(default="", metadata={"most": MAX_USER_AGENT})
    request_id: str = ""
    impersonator: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ip", address(self.ip))
        super().__post_init__()


NOTHING = Target()
NOWHERE = Where()
ANONYMOUS = Actor("anonymous")


@dataclass(frozen=True)
class Event(_Plain):
    """One event. `action` is a dotted word such as `key.created`; `count` says how many alike it stands for."""

    organisation_id: UUID
    action: str
    actor: Actor
    target: Target = NOTHING
    where: Where = NOWHERE
    outcome: Outcome = Outcome.success
    details: Mapping[str, Any] = field(default_factory=dict)
    count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        by = {"impersonator": self.where.impersonator} if self.where.impersonator else {}
        object.__setattr__(self, "details", plain_details({**self.details, **by}))


def plain_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Details that read the same wherever they are written: texts, exact whole numbers, booleans, null, lists, objects.

    Anything else becomes text; too many of them are left out, and their size is said.
    """
    found = {plain(str(name)): _plain_value(value, MAX_DEPTH) for name, value in details.items()}
    size = len(json.dumps(found))
    return found if size <= MAX_DETAILS else {"omitted": size}


def _plain_value(value: object, depth: int) -> Any:  # noqa: ANN401 whatever JSON says
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) <= EXACT):
        return value
    if isinstance(value, Mapping) and depth:
        return {plain(str(name)): _plain_value(one, depth - 1) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_plain_value(one, depth - 1) for one in items]
    return plain(hex(value) if isinstance(value, int) else str(value))
