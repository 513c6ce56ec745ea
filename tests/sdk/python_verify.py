"""Verifies deliveries with the `svix` of this environment, on their bytes as they arrived.

Standard input: a JSON array of {secret, headers, body}, the body in base64. Prints a JSON array: true, or the error.
"""

import base64
import json
import sys
from typing import Any

from svix.webhooks import Webhook, WebhookVerificationError


def verdict(delivery: dict[str, Any]) -> bool | str:
    """Whether the SDK takes a delivery."""
    try:
        Webhook(delivery["secret"]).verify(base64.b64decode(delivery["body"]), delivery["headers"])
    except (WebhookVerificationError, ValueError) as error:
        return str(error)
    return True


if __name__ == "__main__":
    sys.stdout.write(json.dumps([verdict(one) for one in json.load(sys.stdin)]))
