"""What the processes of a running system export."""

import urllib.request
from collections import defaultdict
from collections.abc import Iterator

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.system import System


def exported(system: System, *parts: str) -> list[Sample]:
    """What all processes of these parts tell, one after the other."""
    return [one for part in parts for port in system.management_ports(part) for one in scraped(port)]


def scraped(port: int) -> list[Sample]:
    """What the process at this port tells; nothing where nobody is."""
    texts = _texts(port, "text/plain")
    return [one for text in texts for family in text_string_to_metric_families(text) for one in family.samples]


def exemplars(system: System, part: str) -> dict[str, set[str]]:
    """The traces that a part's histograms name, by histogram."""
    found: dict[str, set[str]] = defaultdict(set)
    for port in system.management_ports(part):
        for text in _texts(port, "application/openmetrics-text; version=1.0.0"):
            for family in openmetrics.text_string_to_metric_families(text):  # type: ignore[no-untyped-call] # it has none
                found[family.name] |= {one.exemplar.labels["trace_id"] for one in family.samples if one.exemplar}
    return found


def _texts(port: int, accept: str) -> Iterator[str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # our own
            yield answer.read().decode()
    except OSError:
        return  # nobody has this port, or whoever had it ends just now


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels."""
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())
