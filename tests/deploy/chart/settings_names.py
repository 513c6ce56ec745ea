"""The settings that `config` may name: every one of the product's that holds no secret and that the chart leaves open.

`python -m tests.deploy.chart.settings_names` writes them into the schema of the values.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import get_args

from pydantic import BaseModel, SecretStr

from app.settings import Settings
from tests.deploy.chart.helm import CHART

SCHEMA = CHART / "values.schema.json"
# What follows from other values, on which ports, policies, monitors and the budget of connections rest.
BY_OTHER_VALUES = {
    "POSTRIDER_DATABASE__POOL_SIZE",
    "POSTRIDER_DATABASE__POOLER",
    "POSTRIDER_DELIVERY__LANES",
    "POSTRIDER_EGRESS__PROBE",
    "POSTRIDER_TELEMETRY__HOST",
    "POSTRIDER_TELEMETRY__PORT",
    "POSTRIDER_TELEMETRY__PORTS",
    # Baked into the image.
    "POSTRIDER_TELEMETRY__REVISION",
}


def every_setting() -> list[str]:
    """The environment variable of every setting, secrets too."""
    return [name for name, _ in _leaves(Settings, "POSTRIDER_")]


def settable() -> list[str]:
    """Those that `config` may name."""
    plain = (name for name, kinds in _leaves(Settings, "POSTRIDER_") if not _holds_secret(kinds))
    return sorted(set(plain) - BY_OTHER_VALUES - {"POSTRIDER_SECRETS__ACTIVE"})


def written(schema: str) -> str:
    """A schema with the settings in their place."""
    read = json.loads(schema)
    read["definitions"]["setting"] = {"enum": settable()}
    return json.dumps(read, indent=2) + "\n"


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Sequence[object]]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}", (kind, *get_args(kind))


def _holds_secret(kinds: Sequence[object]) -> bool:
    return SecretStr in kinds


if __name__ == "__main__":
    SCHEMA.write_text(written(SCHEMA.read_text()))
    sys.stdout.write(f"{SCHEMA}\n")
