"""What a client sent: parameters as OAuth 2 reads them, in the shape that Authlib asks for."""

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_plus

from authlib.oauth2.rfc6749 import OAuth2Payload, OAuth2Request
from authlib.oauth2.rfc6749.errors import InsecureTransportError

from app.kit.errors import Kind, Problem

Pairs = Sequence[tuple[str, str]]
# What may stand in an error's description (RFC 6749, 5.2); Authlib repeats these two parameters there.
_SAYABLE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")
UNSAYABLE = "unreadable"
NEEDS_TLS = "OAuth needs HTTPS: POSTRIDER_PUBLIC_URL begins with http://, and is not this machine"


class Parameters(OAuth2Payload):
    """Parameters by their names. What has no value was not sent (RFC 6749, 3.1)."""

    def __init__(self, pairs: Pairs) -> None:
        self._lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            self._lists[name].append(value)
        self._data = {name: values[0] for name, values in self._lists.items() if values[0]}

    @property
    def data(self) -> dict[str, str]:
        """The value of each."""
        return self._data

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        """All values of each."""
        return self._lists

    @property
    def repeated(self) -> str | None:
        """A parameter that was sent more than once."""
        return next((name for name, values in self._lists.items() if len(values) > 1), None)

    @property
    def response_type(self) -> str:
        """What is asked for at the authorization endpoint."""
        return _sayable(self._data.get("response_type"))

    @property
    def grant_type(self) -> str:
        """What is asked for at the token endpoint."""
        return _sayable(self._data.get("grant_type"))


class Asked(OAuth2Request):
    """A request to one of the endpoints. Raises Problem `insecure_transport` where the issuer is without TLS."""

    payload: Parameters

    def __init__(self, method: str, uri: str, pairs: Pairs, headers: Mapping[str, str]) -> None:
        try:
            super().__init__(method, uri, headers=headers)
        except InsecureTransportError:
            raise Problem(Kind.bad_request, "insecure_transport", NEEDS_TLS) from None
        self.payload = Parameters(pairs)
        self.basic = basic_credentials(headers.get("authorization", ""))

    @property
    def form(self) -> dict[str, str]:
        """The parameters in the body; at the authorization endpoint those in the query."""
        return self.payload.data


def basic_credentials(header: str) -> tuple[str, str] | None:
    """Name and secret of HTTP Basic, each of them form-encoded (RFC 6749, 2.3.1); None for any other header."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(name), unquote_plus(secret)


def _sayable(text: str | None) -> str:
    return (text or "") if _SAYABLE.fullmatch(text or "") else UNSAYABLE
