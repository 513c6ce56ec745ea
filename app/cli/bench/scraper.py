"""Reads the metrics of processes every other second, as a Prometheus does that is in a hurry."""

import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.error import URLError

from app.cli.dev.errors import DevError
from app.cli.dev.ports import LOOPBACK

SCRAPE_SECONDS = 2.0
_TIMEOUT_SECONDS = 10.0
_ACCEPT = {"accept": "application/openmetrics-text; version=1.0.0"}


@contextmanager
def scraping(ports: Sequence[int]) -> Iterator[None]:
    """Reads from whoever listens on these ports, for as long as the block runs. DevError when nobody ever did."""
    over, read = threading.Event(), list[int]()

    def read_all() -> None:
        while not over.is_set():
            read.extend(filter(None, map(_size, ports)))
            over.wait(SCRAPE_SECONDS)

    reading = threading.Thread(target=read_all, name="scraper")
    reading.start()
    try:
        yield
    finally:
        over.set()
        reading.join()
    if ports and not read:
        raise DevError(f"nobody tells metrics on the ports from {ports[0]} on")


def _size(port: int) -> int:
    """How much was read; 0 where nobody has the port."""
    asked = urllib.request.Request(f"http://{LOOPBACK}:{port}/metrics", headers=_ACCEPT)
    try:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310  # nosec B310  # our own
            return len(answer.read())
    except URLError:
        return 0
