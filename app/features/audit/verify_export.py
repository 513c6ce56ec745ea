"""Verifies an exported audit log against its anchors, by itself: it needs Python and the package cryptography.

    python verify_export.py events.jsonl anchors.jsonl KEY_ID=BASE64 [KEY_ID=BASE64 ...]

Exits 0 when every anchor is reached, signed and continued; else 1, naming the first bad sequence.
"""

import base64
import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def canonical(document: object) -> bytes:  # noqa: D103
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def lines(path: str) -> Iterator[dict[str, Any]]:  # noqa: D103
    with pathlib.Path(path).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def fail(sequence: int, reason: str) -> None:  # noqa: D103
    sys.exit(f"sequence {sequence}: {reason}")


def main(events: str, anchors: str, *keys: str) -> None:  # noqa: D103
    known = dict(key.split("=", 1) for key in keys)
    records, sequence, digest = lines(events), 1, bytes(32)
    for number, seal in enumerate(lines(anchors), 1):
        signature = base64.b64decode(seal.pop("signature"))
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(known[seal["key_id"]]))
            key.verify(signature, canonical(seal))
        except (KeyError, ValueError, InvalidSignature):
            fail(sequence, f"anchor {number} is not signed by a known key ({seal['key_id']})")
        if (seal["number"], seal["first_sequence"], seal["previous_hash"]) != (number, sequence, digest.hex()):
            fail(sequence, f"anchor {number} does not continue the one before it")
        while sequence <= seal["last_sequence"]:
            record = next(records, {})
            if record.get("sequence") != sequence or record.get("event") is None:
                fail(sequence, "missing")
            digest = hashlib.sha256(digest + canonical(record["event"])).digest()
            if digest.hex() != record["hash"]:
                fail(sequence, "changed")
            sequence += 1
        if digest.hex() != seal["hash"]:
            fail(seal["first_sequence"], f"changed: records up to {sequence - 1} are not what was sealed")
    if next(records, None):
        fail(sequence, "no anchor covers it: inserted, or sealed after the anchors were taken")
    print(f"{sequence - 1} events are as they were sealed")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
