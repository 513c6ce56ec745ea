"""What the processes of a running system export."""

import urllib.request
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.system import System


def exported(system: System, *parts: str) -> list[Sample]:
    """What all processes of these parts tell, one after the other."""
    return [one for part in parts for port in system.management_ports(part) for one in scraped(port)]


def scraped(port: int) -> Iterator[Sample]:
    """What the process at this port tells; nothing where nobody is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return  # nobody has this port, or whoever had it ends just now
    for family in text_string_to_metric_families(text):
        yield from family.samples


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels."""
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())
