"""Custom headers of an endpoint: which names and values may be set, which values are never shown."""

import re
from collections.abc import Mapping

MAX_HEADERS = 50
MAX_NAME = 256
MAX_VALUE = 4096

HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
HEADER_VALUE = r"^[\t\x20-\x7e\x80-\xff]*$"

_TOKEN = re.compile(HEADER_NAME)
_VALUE = re.compile(HEADER_VALUE)

_FORBIDDEN = frozenset(
    {
        "accept-encoding",
        "alt-svc",
        "cdn-loop",
        "cf-connecting-ip",
        "cf-ipcountry",
        "cf-ray",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "cookie2",
        "date",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "max-forwards",
        "metadata",
        "metadata-flavor",
        "origin",
        "referer",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
        "true-client-ip",
    }
)
_FORBIDDEN_PREFIXES = (
    "webhook-",
    "svix-",
    "x-svix-",
    "x-amz-",
    "x-aws-",
    "x-amzn-",
    "x-google",
    "x-goog-",
    "x-ms-",
    "x-azure-",
    "metadata-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "postrider-",
    "x-postrider-",
    ":",
)
# Servers that fold "_" into "-" would read these as their forbidden twins.
_FOLD = str.maketrans("_", "-")

_SENSITIVE = re.compile(r"auth|token|secret|passw|passphrase|credential|cookie|session|signature|jwt|bearer")
_SENSITIVE_KEYS = re.compile(r"(?:^|-)(?:api|app|access|client|private|subscription|functions?)?-?key$")


class BadHeader(ValueError):
    """A header that may not be set; `name` says which, `reason` is fit for the caller's eyes."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.name = name
        self.reason = reason


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise BadHeader unless every header may be sent along with a delivery."""
    if len(headers) > MAX_HEADERS:
        raise BadHeader("", f"an endpoint has at most {MAX_HEADERS} headers")
    seen: set[str] = set()
    for name, value in headers.items():
        check_header(name, value)
        if name.lower() in seen:
            raise BadHeader(name, "is given twice")
        seen.add(name.lower())


def check_header(name: str, value: str) -> None:
    """Raise BadHeader unless this header may be set."""
    if not _TOKEN.fullmatch(name) or len(name) > MAX_NAME:
        raise BadHeader(name[:MAX_NAME], "is not a header name")
    if is_forbidden(name):
        raise BadHeader(name, "may not be set")
    if len(value) > MAX_VALUE:
        raise BadHeader(name, f"has a value of more than {MAX_VALUE} characters")
    if not _VALUE.fullmatch(value):
        raise BadHeader(name, "has a value with characters that a header cannot carry")


def is_forbidden(name: str) -> bool:
    """Tell whether the name is Postrider's own, the transport's, a proxy's or a cloud's."""
    lower = name.lower().translate(_FOLD)
    return lower in _FORBIDDEN or lower.startswith(_FORBIDDEN_PREFIXES)


def is_sensitive(name: str) -> bool:
    """Tell whether the value is a credential by its name, to be stored but never shown."""
    lower = name.lower().translate(_FOLD)
    return bool(_SENSITIVE.search(lower) or _SENSITIVE_KEYS.search(lower))
