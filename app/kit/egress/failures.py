"""What went wrong, as a kind to decide by and a short text that is safe to show."""

import errno
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from app.domain.addresses import BadUrl
from app.domain.outcome import Failure
from app.kit.egress.connections import Attempt, BlockedAddressError, TooLargeError
from app.kit.egress.names import NameLookupError
from app.kit.egress.tls import BadAuthorityError, WrongPinError
from app.kit.telemetry.logs import get_logger

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EADDRINUSE})
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_PROXY_FOUND_NOBODY = frozenset({502, 503, 504})
_DETAIL = 200
_log = get_logger(__name__)

Explained = tuple[Failure, str]


class ProxyLostError(Exception):
    """The egress proxy's own name cannot be resolved."""


def explain(error: BaseException, attempt: Attempt) -> Explained:
    """The kind of failure and a text without addresses, credentials or internals."""
    links = _chain(error)
    for kind, rule in _RULES:
        for link in links:
            if isinstance(link, kind):
                failure, detail = rule(link, attempt)
                return failure, detail[:_DETAIL]
    _log.error("outgoing_request_failed", exc_info=error)
    return Failure.OTHER, "the request failed"


def _chain(error: BaseException) -> list[BaseException]:
    """What the socket or OpenSSL said first, then the errors of aiohttp that wrap it."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__
    return links[::-1]


def _timeout(_: BaseException, attempt: Attempt) -> Explained:
    return Failure.TIMEOUT, f"no complete answer in time ({attempt.phase})"


def _certificate(error: ssl.SSLCertVerificationError, _: Attempt) -> Explained:
    return Failure.TLS, error.verify_message or "the certificate cannot be verified"


def _handshake(error: ssl.SSLError, attempt: Attempt) -> Explained:
    if not attempt.shaking_hands:
        return Failure.RESET, "the TLS connection broke"
    reason = (error.reason or "").replace("_", " ").lower()
    return Failure.TLS, f"the TLS handshake failed: {reason}" if reason else "the TLS handshake failed"


def _closed(_: BaseException, attempt: Attempt) -> Explained:
    if attempt.secure and attempt.shaking_hands:
        return Failure.TLS, "the connection was closed during the TLS handshake"
    return Failure.RESET, f"the connection was closed ({attempt.phase})"


def _system(error: OSError, _: Attempt) -> Explained:
    if error.errno in _OURS:
        return Failure.LOCAL, "this server cannot open a connection now"
    if error.errno in _UNREACHABLE:
        return Failure.UNREACHABLE, "the host cannot be reached"
    return Failure.OTHER, "the connection failed"


def _proxy_answer(error: aiohttp.ClientHttpProxyError, _: Attempt) -> Explained:
    failure = Failure.UNREACHABLE if error.status in _PROXY_FOUND_NOBODY else Failure.PROXY
    return failure, f"the egress proxy answered {error.status}"


def _says(failure: Failure, text: str) -> Callable[[BaseException, Attempt], Explained]:
    return lambda _error, _attempt: (failure, text)


def _own_words(failure: Failure) -> Callable[[BaseException, Attempt], Explained]:
    return lambda error, _attempt: (failure, str(error))


# The first rule that fits wins, so the special comes before the general.
_RULES: tuple[tuple[type[BaseException], Callable[..., Explained]], ...] = (
    (aiohttp.ClientHttpProxyError, _proxy_answer),
    (ProxyLostError, _says(Failure.PROXY, "the egress proxy cannot be found")),
    (aiohttp.ClientProxyConnectionError, _says(Failure.PROXY, "the egress proxy cannot be reached")),
    (BlockedAddressError, _says(Failure.BLOCKED_ADDRESS, "the host has an address that is not allowed")),
    (BadUrl, _own_words(Failure.BLOCKED_ADDRESS)),
    (NameLookupError, _own_words(Failure.DNS)),
    (BadAuthorityError, _says(Failure.TLS, "the CA certificate of the endpoint is not PEM")),
    (WrongPinError, _says(Failure.TLS, "the certificate's key is not the pinned one")),
    (TooLargeError, _says(Failure.TOO_LARGE, "the answer is too large")),
    (TimeoutError, _timeout),
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.CertificateError, _says(Failure.TLS, "the certificate cannot be verified")),
    (ssl.SSLError, _handshake),
    (ConnectionRefusedError, _says(Failure.REFUSED, "the connection was refused")),
    (ConnectionError, _closed),
    (aiohttp.ServerDisconnectedError, _closed),
    (aiohttp.ClientPayloadError, _says(Failure.PROTOCOL, "the answer's body is incomplete or malformed")),
    (LineTooLong, _says(Failure.TOO_LARGE, "a line of the answer is too long")),
    (HttpProcessingError, _says(Failure.PROTOCOL, "the answer is not valid HTTP")),
    (aiohttp.ClientResponseError, _says(Failure.PROTOCOL, "the answer is not valid HTTP")),
    (aiohttp.InvalidURL, _says(Failure.INVALID_URL, "the URL is not valid")),
    (OSError, _system),
)
