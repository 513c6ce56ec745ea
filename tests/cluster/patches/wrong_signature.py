"""A worker that signs something else than it sends."""

from collections.abc import Sequence
from typing import Any

MODULE = "app.domain.signing"


def act(module: Any) -> None:  # noqa: ANN401 a module
    """Signs the body with a byte more."""
    sign = module.sign

    def sign_wrongly(message_id: str, timestamp: int, body: bytes, keys: Sequence[object]) -> str:
        signature: str = sign(message_id, timestamp, body + b" ", keys)
        return signature

    module.sign = sign_wrongly
