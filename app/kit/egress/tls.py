"""TLS settings of outgoing connections: verified always, 1.2 at least."""

import hashlib
import ssl
from collections import OrderedDict

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_CAPACITY = 1_000


class BadAuthorityError(ValueError):
    """A custom CA that is not PEM with at least one certificate."""


class WrongPinError(Exception):
    """The certificate is valid but its key is not one of the pinned ones."""


def make_context(ca_pem: bytes | None) -> ssl.SSLContext:
    """A verifying client context that trusts the system's authorities, or `ca_pem` alone.

    Raises BadAuthorityError.
    """
    if ca_pem == b"":
        raise BadAuthorityError  # ssl would take it for no authority and trust the system's
    try:
        context = ssl.create_default_context(cadata=None if ca_pem is None else ca_pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise BadAuthorityError from None
    if not context.cert_store_stats()["x509"] and ca_pem is not None:
        raise BadAuthorityError
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class Contexts:
    """One context per authority, made once; the least recently used are dropped."""

    def __init__(self) -> None:
        self._system = make_context(None)
        self._own: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()

    def get(self, ca_pem: bytes | None) -> ssl.SSLContext:
        """The context for `ca_pem`, None for the system's authorities. Raises BadAuthorityError."""
        if ca_pem is None:
            return self._system
        digest = hashlib.sha256(ca_pem).digest()
        context = self._own.get(digest)
        if context is None:
            context = self._own[digest] = make_context(ca_pem)
            if len(self._own) > _CAPACITY:
                self._own.popitem(last=False)
        self._own.move_to_end(digest)
        return context


def pin_of(certificate: bytes) -> bytes:
    """SHA-256 of the public key (SubjectPublicKeyInfo) of a DER certificate."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def check_pin(peer: ssl.SSLObject | None, pins: frozenset[bytes]) -> None:
    """Raises WrongPinError unless `pins` is empty or holds the pin of the peer's certificate."""
    if not pins:
        return
    certificate = peer.getpeercert(binary_form=True) if peer is not None else None
    if certificate is None or pin_of(certificate) not in pins:
        raise WrongPinError
