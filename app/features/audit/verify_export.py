"""Verifies an exported audit log against its anchors; needs nothing but Python and cryptography.

    python verify_export.py events.jsonl anchors.jsonl KEY_ID=BASE64 [KEY_ID=BASE64 ...]

Exits 1 with the first bad sequence unless every anchor is signed and reached.
"""

import base64
import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def canonical(document: object) -> bytes:  # noqa: D103
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def lines(path: str) -> Iterator[dict[str, Any]]:  # noqa: D103
    with pathlib.Path(path).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def main(events: str, anchors: str, *keys: str) -> None:  # noqa: D103
    known, records, sequence, digest = dict(key.split("=", 1) for key in keys), lines(events), 1, bytes(32)
    earliest = datetime.min.replace(tzinfo=UTC)
    for number, seal in enumerate(lines(anchors), 1):
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(known[seal["key_id"]]))
            key.verify(base64.b64decode(seal.pop("signature")), canonical(seal))
        except (KeyError, ValueError, InvalidSignature):
            sys.exit(f"sequence {sequence}: anchor {number} is not signed by a known key ({seal['key_id']})")
        if (seal["number"], seal["first_sequence"], seal["previous_hash"]) != (number, sequence, digest.hex()):
            sys.exit(f"sequence {sequence}: anchor {number} does not continue the one before it")
        while sequence <= seal["last_sequence"]:
            record = next(records, {})
            if record.get("sequence") != sequence or record.get("event") is None:
                sys.exit(f"sequence {sequence}: missing")
            digest = hashlib.sha256(digest + canonical(record["event"])).digest()
            if digest.hex() != record["hash"]:
                sys.exit(f"sequence {sequence}: changed")
            if datetime.fromisoformat(record["event"]["occurred_at"]) < earliest:
                sys.exit(f"sequence {sequence}: written long after it says that it happened")
            sequence += 1
        if digest.hex() != seal["hash"]:
            sys.exit(f"sequence {seal['first_sequence']}: changed, up to sequence {sequence - 1}")
        earliest = datetime.fromisoformat(seal["sealed_at"]) - timedelta(hours=1)
    if next(records, None):
        sys.exit(f"sequence {sequence}: no anchor covers it: inserted, or sealed after the anchors were taken")
    print(f"{sequence - 1} events are as they were sealed")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
