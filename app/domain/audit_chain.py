"""The chain over audit events: what is hashed, what is signed, and how the first fault in it is found.

A link is SHA-256 over the link before it, 32 zero bytes at the beginning, and the event in canonical JSON: members
sorted by name, no blanks, everything beyond ASCII escaped. A seal signs the link at its end with Ed25519.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

BEGINNING = bytes(32)
# An event is stored when its transaction ends: what is sealed this much later was written after the fact.
LATEST = timedelta(hours=1)
Document = Mapping[str, Any]
Keys = Mapping[str, Ed25519PublicKey]


def canonical(document: Document) -> bytes:
    """The one way to write a document of texts, whole numbers, booleans, null, lists and objects."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def link(previous: bytes, event: Document) -> bytes:
    """The chain's next 32 bytes."""
    return sha256(previous + canonical(event)).digest()


@dataclass(frozen=True, slots=True)
class Record:
    """An event in the chain as it is stored; None when it is not there any more."""

    sequence: int
    hash: bytes
    event: Document | None


@dataclass(frozen=True, slots=True)
class Seal:
    """What is signed about the records `first` to `last`. As a line of JSON it is an anchor."""

    organisation_id: str
    number: int
    first: int
    last: int
    hash: bytes
    previous: bytes
    sealed_at: str
    key_id: str
    signature: bytes = b""

    def statement(self) -> Document:
        """What the signature is over."""
        return {
            "organisation_id": self.organisation_id,
            "number": self.number,
            "first_sequence": self.first,
            "last_sequence": self.last,
            "hash": self.hash.hex(),
            "previous_hash": self.previous.hex(),
            "sealed_at": self.sealed_at,
            "key_id": self.key_id,
        }

    def anchor(self) -> str:
        """The seal as a line, without its end."""
        return canonical({**self.statement(), "signature": b64encode(self.signature).decode()}).decode()

    @classmethod
    def of_anchor(cls, line: str) -> Self:
        """What `anchor` wrote. ValueError for anything else."""
        try:
            read = json.loads(line)
            numbers = read["number"], read["first_sequence"], read["last_sequence"]
            hashes = bytes.fromhex(read["hash"]), bytes.fromhex(read["previous_hash"])
            signature = b64decode(read["signature"], validate=True)
            return cls(read["organisation_id"], *numbers, *hashes, read["sealed_at"], read["key_id"], signature)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no anchor: {line[:80]!r}") from error

    def is_signed(self, keys: Keys) -> bool:
        """Whether a known key signed it."""
        if self.key_id not in keys:
            return False
        try:
            keys[self.key_id].verify(self.signature, canonical(self.statement()))
        except InvalidSignature:
            return False
        return True

    def sign(self, key: Ed25519PrivateKey) -> bytes:
        """The signature."""
        return key.sign(canonical(self.statement()))


@dataclass(frozen=True, slots=True)
class Fault:
    """The first record that is not as it was sealed, and what is wrong there."""

    sequence: int
    reason: str


def first_fault(
    records: Iterable[Record], seals: Iterable[Seal], keys: Keys, anchors: Iterable[Seal] = ()
) -> Fault | None:
    """Walks records and seals, both in their order; None when all is as it was sealed, and every anchor is reached."""
    walk, anchored = _Walk(iter(records), keys), {one.number: one for one in anchors}
    for seal in seals:
        if anchored.pop(seal.number, seal) != seal:
            return Fault(walk.next, f"seal {seal.number} is not the one that was anchored")
        if fault := walk.seal(seal):
            return fault
    if anchored:
        return Fault(walk.next, f"missing: the log ends before seal {min(anchored)}, which was anchored")
    return Fault(walk.next, "inserted: no seal covers it") if next(walk.records, None) else None


class _Walk:
    """How far the chain was followed."""

    def __init__(self, records: Iterator[Record], keys: Keys) -> None:
        self.records = records
        self.next = 1
        self._keys = keys
        self._number = 1
        self._hash = BEGINNING
        self._sealed_at: datetime | None = None

    def seal(self, seal: Seal) -> Fault | None:
        """Follows the chain to the end of a seal."""
        if fault := self._misplaced(seal):
            return fault
        for record in islice(self.records, seal.last - seal.first + 1):
            if fault := self._follow(record):
                return fault
        if self.next <= seal.last:
            return Fault(self.next, "missing: the chain ends before what was sealed")
        if self._hash != seal.hash:
            return Fault(seal.first, f"changed: records {seal.first} to {seal.last} are not what was sealed")
        self._number, self._sealed_at = seal.number + 1, datetime.fromisoformat(seal.sealed_at)
        return None

    def _misplaced(self, seal: Seal) -> Fault | None:
        if not seal.is_signed(self._keys):
            return Fault(self.next, f"seal {seal.number} is not signed by a known key ({seal.key_id})")
        place = seal.number, seal.first, seal.previous
        if place != (self._number, self.next, self._hash):
            return Fault(self.next, f"seal {seal.number} does not continue the one before it")
        return None

    def _follow(self, record: Record) -> Fault | None:
        if record.sequence != self.next:
            return Fault(self.next, f"missing: the next record is {record.sequence}")
        if record.event is None:
            return Fault(self.next, "missing: the event was removed")
        self._hash = link(self._hash, record.event)
        if self._hash != record.hash:
            return Fault(self.next, "changed: the event is not the one that was sealed here")
        if self._sealed_at and datetime.fromisoformat(record.event["occurred_at"]) < self._sealed_at - LATEST:
            return Fault(self.next, "inserted: it was written long after it says that it happened")
        self.next += 1
        return None
