"""Manifests as Kubernetes reads them."""

from collections.abc import Mapping
from typing import Any

import yaml

Manifest = Mapping[str, Any]


class _Loader(yaml.CSafeLoader):
    """YAML without what Kubernetes' own reader leaves out: dates are text, and so is an equals sign."""


_NOT_READ = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if tag not in _NOT_READ]
    for letter, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def manifests(text: str | bytes) -> list[Manifest]:
    """The documents of a stream, without empty ones."""
    return [one for one in yaml.load_all(text, Loader=_Loader) if one]  # a safe loader, narrowed


def named(manifest: Manifest) -> str:
    """How messages call a manifest."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"
