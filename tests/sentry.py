"""A real receiver of Sentry's envelopes: what processes report, decoded."""

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sentry_sdk.envelope import Envelope

from tests.receiver import Answer, Received, Receiver

PATH = "/api/7/envelope/"
OK = Answer(200, body=b"{}")
Report = dict[str, Any]


@dataclass(frozen=True)
class Sentry:
    """What was reported to a receiver."""

    receiver: Receiver

    @property
    def dsn(self) -> str:
        """Where to report to."""
        return f"http://public@{urlsplit(self.receiver.base).netloc}/7"

    @property
    def raw(self) -> str:
        """All that came, headers included."""
        return "\n".join(f"{one.headers} {_plain(one).decode()}" for one in self.receiver.at(PATH))

    def reports(self) -> list[Report]:
        """All that came."""
        return [report for one in self.receiver.at(PATH) for report in _decoded(one)]

    def wait(self, is_wanted: Callable[[Report], object], seconds: float = 20) -> Report:
        """The first report that is wanted; AssertionError when none comes in time."""
        self.receiver.wait_until(PATH, lambda _: any(map(is_wanted, self.reports())), seconds)
        return next(filter(is_wanted, self.reports()))


@contextmanager
def running_sentry(*answers: Answer) -> Iterator[Sentry]:
    """A Sentry that answers so, 200 where nothing is said."""
    with Receiver() as receiver:
        receiver.tell(PATH, *(answers or (OK,)))
        yield Sentry(receiver)


def _plain(one: Received) -> bytes:
    return gzip.decompress(one.body) if one.headers.get("content-encoding") == "gzip" else one.body


def _decoded(one: Received) -> Iterator[Report]:
    for item in Envelope.deserialize(_plain(one)).items:
        assert item.type == "event", item.type
        yield json.loads(item.get_bytes())
