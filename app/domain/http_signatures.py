"""Signed requests: RFC 9421 with hmac-sha256 and RFC 9530 digests, in the one strict form that is accepted.

Headers are taken in their canonical spelling alone, so that what is signed is the very text that was sent.
"""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

ALGORITHM = "hmac-sha256"
WINDOW = 300
"""Seconds that the clocks of signer and verifier may lie apart."""
REQUIRED = ("@method", "@path", "@query")
WITH_BODY = ("content-type", "content-digest")
# What a header does to a request must not be changed on the way either.
WHEN_SENT = ("idempotency-key",)
NONCE = re.compile(r"[\x20-\x7e]{16,128}")
KEY_ID = re.compile(r"[\x20-\x7e]{1,128}")
MOST_SECRETS = 2
MOST_COMPONENTS = 32
MISMATCH = "The signature was not made by this key for this request"

_LABEL = r"[a-z*][a-z0-9_.*-]*"
_NAME = r'"@?[a-z0-9!#$%&\'*+.^_`|~-]+"'
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_INTEGER = r"(?:0|[1-9][0-9]{0,11})"
_COMPONENTS = re.compile(_NAME)
_PARAMETERS = re.compile(rf";({_LABEL})=(?:({_STRING})|({_INTEGER}))")
_INPUT = re.compile(rf"({_LABEL})=(\(({_NAME}(?: {_NAME})*)?\)((?:;{_LABEL}=(?:{_STRING}|{_INTEGER}))*))")
_SIGNATURE = re.compile(rf"({_LABEL})=:([A-Za-z0-9+/]{{43}}=):")
_ESCAPED = re.compile(r'\\(["\\])')
_TEXTS = ("keyid", "nonce", "alg", "tag")
_NUMBERS = ("created", "expires")
# Nothing that is covered may look like a line of the base.
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_NOBODY = bytes(32)


class BadSignature(ValueError):
    """The request is not signed as it has to be; the message says what to do and nothing of any key."""


class Stale(ValueError):
    """The signature is good and too old, too early or expired."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was sent: the path percent-encoded, the query without its `?`, names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The values under this name, joined by a comma; None when there are none."""
        values = [value.strip(" \t") for known, value in self.headers if known == name]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Signature:
    """What the headers of a signed request say: `base` is what was signed, `mac` is base64, times are Unix seconds."""

    base: bytes
    mac: str
    key_id: str
    nonce: str
    created: int
    expires: int | None = None


def read(request: Request) -> Signature:
    """The one signature of a request whose body fits its digest. Raises BadSignature.

    Nothing here depends on a key: see `maker` for whether the signature is good.
    """
    label, params, listed, parameters = _match(request, "signature-input", _INPUT)
    same, made = _match(request, "signature", _SIGNATURE)
    if label != same:
        raise BadSignature(f"Signature-Input speaks of {label} and Signature of {same}")
    components = tuple(name[1:-1] for name in _COMPONENTS.findall(listed or ""))
    texts, numbers = _parameters(parameters)
    _check_parameters(texts, numbers)
    _check_components(components, request)
    base = signature_base(request, components, params)
    return Signature(base, made, texts["keyid"], texts["nonce"], numbers["created"], numbers.get("expires"))


def maker(signature: Signature, secrets: Sequence[bytes]) -> int | None:
    """Which of at most two secrets made the signature; it takes as long for none and for one as for two."""
    found = None
    for number, secret in enumerate((*secrets, _NOBODY, _NOBODY)[:MOST_SECRETS]):
        made = hmac.compare_digest(mac(secret, signature.base), signature.mac)
        if made and number < len(secrets):
            found = number
    return found


def check_time(signature: Signature, now: int) -> None:
    """Raises Stale outside of WINDOW around `created`, and after `expires`; all in Unix seconds."""
    if abs(now - signature.created) > WINDOW:
        raise Stale(f"The signature was created more than {WINDOW} seconds away from now: sign anew, by the right time")
    if signature.expires is not None and now > signature.expires:
        raise Stale("The signature has expired: sign anew")


def signature_base(request: Request, components: Sequence[str], params: str) -> bytes:
    """The bytes that are signed. Raises BadSignature for a component that the request lacks."""
    lines = [f'"{name}": {_component(request, name)}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode("ascii")


def mac(secret: bytes, base: bytes) -> str:
    """The base64 of an hmac-sha256."""
    return base64.b64encode(hmac.digest(secret, base, "sha256")).decode("ascii")


def content_digest(body: bytes) -> str:
    """The Content-Digest header of a body."""
    return f"sha-256=:{base64.b64encode(sha256(body).digest()).decode('ascii')}:"


def _match(request: Request, name: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    value = request.header(name)
    if value is None:
        raise BadSignature(f"The header {name} is missing")
    match = pattern.fullmatch(value)
    if match is None:
        raise BadSignature(f"The header {name} must hold exactly one {ALGORITHM} signature, spelled as RFC 9421 does")
    return match.groups()


def _parameters(text: str) -> tuple[dict[str, str], dict[str, int]]:
    found = _PARAMETERS.findall(text)
    texts = {name: _ESCAPED.sub(r"\1", string[1:-1]) for name, string, _ in found if string}
    numbers = {name: int(number) for name, _, number in found if number}
    if len(texts) + len(numbers) < len(found) or texts.keys() - _TEXTS or numbers.keys() - _NUMBERS:
        raise BadSignature(
            f"Signature-Input takes each of {', '.join(_TEXTS)} (strings) and {', '.join(_NUMBERS)} (numbers) once"
        )
    return texts, numbers


def _check_parameters(texts: Mapping[str, str], numbers: Mapping[str, int]) -> None:
    if "created" not in numbers:
        raise BadSignature("Signature-Input must say when the signature was created, in Unix seconds")
    if not KEY_ID.fullmatch(texts.get("keyid", "")):
        raise BadSignature("Signature-Input must name the key: keyid has 1 to 128 characters")
    if not NONCE.fullmatch(texts.get("nonce", "")):
        raise BadSignature("Signature-Input must hold a nonce of 16 to 128 characters, another for each request")
    if texts.get("alg", ALGORITHM) != ALGORITHM:
        raise BadSignature(f"The only algorithm is {ALGORITHM}")


def _check_components(names: Sequence[str], request: Request) -> None:
    if len(names) > MOST_COMPONENTS or len(set(names)) < len(names):
        raise BadSignature(f"A signature covers at most {MOST_COMPONENTS} components, each once")
    sent = [name for name in WHEN_SENT if request.header(name) is not None]
    missing = [name for name in (*REQUIRED, *(WITH_BODY if request.body else ()), *sent) if name not in names]
    if missing:
        raise BadSignature(f"The signature must also cover {', '.join(missing)}")
    if "content-digest" in names and request.header("content-digest") != content_digest(request.body):
        raise BadSignature("Content-Digest must be the sha-256 of the body, and nothing else")


def _component(request: Request, name: str) -> str:
    derived = {
        "@method": request.method,
        "@path": request.path or "/",
        "@query": f"?{request.query}",
        "@authority": (request.header("host") or "").lower(),
    }
    if name.startswith("@") and name not in derived:
        raise BadSignature(f"{name} cannot be covered; {', '.join(derived)} and headers can")
    value = derived[name] if name in derived else request.header(name)
    if value is None:
        raise BadSignature(f"The signature covers the header {name}, which was not sent")
    if not _VALUE.fullmatch(value):
        raise BadSignature(f"{name} cannot be covered as it is: it must be printable ASCII")
    return value
