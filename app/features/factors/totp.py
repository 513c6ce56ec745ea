"""Codes of authenticator apps (RFC 6238): six digits, another every 30 seconds."""

import base64
from uuid import UUID

import pyotp
import segno
from pyotp.exceptions import OTPVerificationError

from app.kit.encryption import KeyRing

SECRET_BYTES = 20
ISSUER = "Postrider"
STEPS = 1
"""Clocks may differ by so many periods."""
COLUMN = b"totp_secrets.sealed"


def seal(ring: KeyRing, user_id: UUID, secret_id: UUID, secret: bytes) -> bytes:
    """A secret as it is stored, bound to its row."""
    return ring.encrypt(secret, binding(user_id, secret_id))


def unseal(ring: KeyRing, user_id: UUID, secret_id: UUID, blob: bytes) -> bytes:
    """What `seal` was given. Raises Undecryptable."""
    return ring.decrypt(blob, binding(user_id, secret_id))


def timecode(secret: bytes, code: str) -> int | None:
    """The period to which the code belongs, of now and those beside it; None for a wrong one."""
    try:
        return _generator(secret).verify_and_get_timecode(code, valid_window=STEPS)
    except OTPVerificationError:
        return None


def typed(secret: bytes) -> str:
    """The secret as a person types it, in groups of four."""
    text = _text(secret)
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def picture(secret: bytes, email: str) -> str:
    """The secret as a QR code for the person's app: the URL of an SVG picture."""
    uri = _generator(secret).provisioning_uri(name=email, issuer_name=ISSUER)
    # Black on white in every colour scheme: scanners expect it so.
    return segno.make(uri, micro=False).svg_data_uri(scale=5, border=4, dark="#000", light="#fff")


def _generator(secret: bytes) -> pyotp.TOTP:
    return pyotp.TOTP(_text(secret))


def _text(secret: bytes) -> str:
    return base64.b32encode(secret).decode()


def binding(user_id: UUID, secret_id: UUID) -> bytes:
    """What the ciphertext of this row is authenticated with."""
    return COLUMN + b":" + user_id.bytes + secret_id.bytes
