"""Sign-ins, counted by how and how they ended."""

from collections.abc import Sequence

from app.kit.telemetry.metrics import SIGN_INS

_NAMES = {"pwd": "password", "hwk": "passkey", "fed": "provider"}
ANY = "any"
"""The method where it is not known yet."""


def measure_proof(methods: Sequence[str], outcome: str) -> None:
    """Of a proof that was good: `signed_in`, or `stepped_up` where the risk asks for another one."""
    SIGN_INS.labels(_NAMES.get(methods[0], methods[0]), outcome).inc()


def measure_refused(kind: str, outcome: str) -> None:
    """Of a secret that was tried: `failed`, or `throttled` where it was not even looked at."""
    SIGN_INS.labels(kind, outcome).inc()
