"""Independent verifiers of deliveries: PyPI's and npm's `standardwebhooks`, and the `svix` of both."""

import json
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook
from standardwebhooks.exceptions import WebhookVerificationError

from tests.receiver import Received
from tests.sdk.environments import HERE, javascript_judge, node, python_judge

RUN_SECONDS = 60


@dataclass(frozen=True)
class Delivery:
    """What a receiver knows: its secret, the headers and the bytes."""

    secret: str
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, secret: str, received: Received) -> "Delivery":
        """A delivery as it arrived."""
        return cls(secret, received.headers, received.body)


def standardwebhooks_python(deliveries: Sequence[Delivery]) -> list[bool | str]:
    """Verdicts of PyPI's `standardwebhooks`: True, or why not."""
    return [_verdict(one) for one in deliveries]


def npm(deliveries: Sequence[Delivery]) -> dict[str, list[bool | str]]:
    """Verdicts of npm's `standardwebhooks` and `svix`, by their names."""
    found = _run([node(), javascript_judge() / "verify.mjs"], deliveries)
    return {name: [one[name] for one in found] for name in ("standardwebhooks", "svix")}


def svix_python(version: str, deliveries: Sequence[Delivery]) -> list[bool | str]:
    """Verdicts of PyPI's `svix`."""
    verdicts: list[bool | str] = _run([python_judge(version), HERE / "python_verify.py"], deliveries)
    return verdicts


def _verdict(delivery: Delivery) -> bool | str:
    try:
        Webhook(delivery.secret).verify(delivery.body, dict(delivery.headers), json_parse=False)
    except WebhookVerificationError as error:
        return str(error)
    return True


def _run(command: Sequence[str | Path], deliveries: Sequence[Delivery]) -> Any:  # noqa: ANN401  # JSON
    asked = [
        {"secret": one.secret, "headers": dict(one.headers), "body": b64encode(one.body).decode()} for one in deliveries
    ]
    done = subprocess.run(
        command, input=json.dumps(asked), capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
