"""Sign-ins, counted by how and how they ended; and letters that were asked for too often."""

from collections.abc import Sequence

from app.kit.telemetry.metrics import RATE_LIMIT_REFUSALS, SIGN_INS

PASSKEY, PROVIDER = "passkey", "provider"
_NAMES = {"pwd": "password", "hwk": PASSKEY, "fed": PROVIDER}
ANY = "any"
"""The method where it is not known yet."""
# A rate sees no first value: so the series begin before there is anything to count.
for _method in ("password", PASSKEY, PROVIDER):
    for _outcome in ("signed_in", "stepped_up", "failed"):
        SIGN_INS.labels(_method, _outcome)


def measure_proof(methods: Sequence[str], outcome: str) -> None:
    """Of a proof that was good: `signed_in`, `stepped_up` where the risk asks for another one, or `disabled`."""
    SIGN_INS.labels(_NAMES.get(methods[0], methods[0]), outcome).inc()


def measure_refused(kind: str, outcome: str) -> None:
    """Of a secret or a provider that was tried: `failed`, or `throttled` where it was not even looked at."""
    SIGN_INS.labels(kind, outcome).inc()


def measure_letter_refused(identity: str) -> None:
    """Of a letter that was asked for beyond the rate of its asker, who signs in by none of it."""
    RATE_LIMIT_REFUSALS.labels("letters", identity).inc()
