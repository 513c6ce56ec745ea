"""Signs requests as a caller would who has read RFC 9421 and nothing of Postrider's code."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

METHOD_PATH_QUERY = ("@method", "@path", "@query")


@dataclass(frozen=True)
class Ask:
    """A request, and how it is signed."""

    method: str = "POST"
    path: str = "/api/v1/app"
    query: str = "limit=5&order=ascending"
    body: bytes = b'{"name": "one"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    components: Sequence[str] | None = None
    key_id: str = "key_1"
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    created: int = field(default_factory=lambda: int(time.time()))
    more: str = ""
    label: str = "sig"

    def but(self, **changes: Any) -> Self:  # noqa: ANN401 any field
        return replace(self, **changes)

    @property
    def sent(self) -> dict[str, str]:
        """The headers, without the signature."""
        if not self.body:
            return dict(self.headers)
        digest = base64.b64encode(hashlib.sha256(self.body).digest()).decode()
        return {"content-type": "application/json", "content-digest": f"sha-256=:{digest}:", **self.headers}

    @property
    def covered(self) -> Sequence[str]:
        return (*METHOD_PATH_QUERY, *self.sent) if self.components is None else self.components

    @property
    def params(self) -> str:
        names = " ".join(f'"{name}"' for name in self.covered)
        return f'({names});created={self.created};keyid="{self.key_id}";nonce="{self.nonce}"{self.more}'

    @property
    def base(self) -> bytes:
        derived = {"@method": self.method, "@path": self.path, "@query": f"?{self.query}"}
        values = [f'"{name}": {({**derived, **self.sent})[name]}\n' for name in self.covered]
        return f'{"".join(values)}"@signature-params": {self.params}'.encode()

    def signed(self, secret: bytes) -> dict[str, str]:
        """All headers of the signed request."""
        mac = base64.b64encode(hmac.new(secret, self.base, hashlib.sha256).digest()).decode()
        return {**self.sent, "signature-input": f"{self.label}={self.params}", "signature": f"{self.label}=:{mac}:"}
