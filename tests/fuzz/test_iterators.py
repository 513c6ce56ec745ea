"""An iterator leads through the one list of the one owner that it was made for; anything else is refused."""

import base64
import re
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.client import Reply
from tests.api.operations import OPERATIONS
from tests.e2e.customer import Caller
from tests.fuzz.world import Known, known
from tests.receiver import Receiver
from tests.ssrf.names import NameServer
from tests.system import System

# The older paths of the attempts of a message show the same list again.
LISTS = [one.path for one in OPERATIONS if "iterator" in one.parameters("query") and not one.path.endswith("/attempt")]
EXAMPLES = {True: 150, False: 1500}
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class List:
    """One list of one owner, what leads through it, and the names of all that is in it."""

    api: Caller
    path: str
    onward: str
    back: str
    items: frozenset[str]

    @classmethod
    def of(cls, api: Caller, path: str) -> "List":
        page = api.get(path, limit=250)
        assert page["done"]
        return cls(api, path, page["iterator"], page["prevIterator"], _names(page))

    def read(self, iterator: str) -> Reply:
        return self.api.call("GET", f"{self.path}?iterator={quote(iterator, safe='')}")

    def refuses(self, iterator: str) -> bool:
        reply = self.read(iterator)
        return reply.status == 422 and reply.fields == ["query.iterator"]

    def shows_its_own(self, iterator: str) -> bool:
        reply = self.read(iterator)
        # The audit log grows by what is written together a few seconds later, such as the first use of a key.
        return reply.status == 200 and (_names(reply.body) <= self.items or _names(reply.body) <= self.items_now())

    def items_now(self) -> frozenset[str]:
        page = self.api.get(self.path, limit=250)
        assert page["done"]
        return _names(page)


@pytest.fixture(scope="module")
def lists(system: System, names: NameServer, receiver: Receiver) -> list[List]:
    """Every list of two organisations, one of which has two applications."""
    ours, another = (system.new_tenant().key for _ in range(2))
    owners = [(key, known(system, names, receiver, key)) for key in (ours, another, ours)]
    for key, there in owners:
        _delete_some(Caller(system.url, key), str(there["app_id"]))
    paths = {(key, _filled(path, there)): None for key, there in owners for path in LISTS}
    return [List.of(Caller(system.url, key), path) for key, path in paths]


def _delete_some(api: Caller, app_id: str) -> None:
    """Two of each thing that can be restored, so that a list of them goes on."""
    for path, body in (("/app", {"name": "gone"}), (f"/app/{app_id}/endpoint", {"url": "http://127.0.0.1:9/"})) * 2:
        made = api.post(path, body)["id"]
        assert api.call("DELETE", f"{path}/{made}").status == 204


def test_every_list_is_there_and_holds_something(lists: list[List]) -> None:
    assert len(LISTS) >= 10
    assert len(lists) > 2 * len(LISTS)
    assert all(one.items for one in lists)


def test_no_iterator_leads_into_another_list(lists: list[List]) -> None:
    for there in lists:
        for made in lists:
            for iterator in (made.onward, made.back):
                if made is there:
                    assert there.shows_its_own(iterator), (there.path, iterator)
                else:
                    assert there.refuses(iterator), (made.path, there.path, iterator)


def test_a_changed_iterator_is_refused(lists: list[List], bounded: bool) -> None:  # noqa: FBT001  # a fixture
    @settings(
        max_examples=EXAMPLES[bounded],
        derandomize=bounded,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        there = data.draw(st.sampled_from(lists))
        text = data.draw(st.one_of(_changed(there), _spliced(there, lists), _texts(), _sealed_by_nobody()))
        # The sign says in which direction; both lead through the list itself.
        if text == "" or text.removeprefix("-") in {there.onward, there.back.removeprefix("-")}:
            assert there.shows_its_own(text), (there.path, text)
        else:
            assert there.refuses(text), (there.path, text)

    check()


def _filled(path: str, there: Known) -> str:
    operational = path.startswith("/operational-webhook")
    ids = there | {"endpoint_id": there["operational_id" if operational else "steady_id"]}
    return re.sub(r"{(\w+)}", lambda match: str(ids[match[1]]), path)


def _names(page: dict[str, list[dict[str, str]]]) -> frozenset[str]:
    return frozenset(one.get("id") or one["name"] for one in page["data"])


def _changed(made: List) -> st.SearchStrategy[str]:
    """A real iterator, of which something was flipped, cut, added or put elsewhere."""
    texts = st.sampled_from([made.onward, made.back])
    return st.one_of(
        st.builds(_flipped, texts, st.integers(min_value=0)),
        st.builds(lambda text, end: text[: end % len(text)], texts, st.integers(min_value=0)),
        st.builds(lambda text, begin: text[begin % len(text) :], texts, st.integers(min_value=0)),
        st.builds(lambda text, more: text + more, texts, st.text(max_size=4)),
        st.builds(lambda text, more: more + text, texts, st.text("-=A ", max_size=3)),
        st.builds(_put, texts, st.integers(min_value=0), st.characters(codec="utf-8")),
        texts.map(str.swapcase),
        texts.map(lambda text: text[::-1]),
    )


def _flipped(text: str, position: int) -> str:
    sign = "-" if text.startswith("-") else ""
    blob = bytearray(_bytes(text.removeprefix("-")))
    blob[position // 8 % len(blob)] ^= 1 << position % 8
    return sign + _text(bytes(blob))


def _put(text: str, position: int, one: str) -> str:
    position %= len(text)
    return text[:position] + one + text[position + 1 :]


def _spliced(there: List, lists: list[List]) -> st.SearchStrategy[str]:
    """The beginning of a real iterator with the end of another one's."""

    def splice(other: List, at: int) -> str:
        one, two = _bytes(there.onward), _bytes(other.onward)
        return _text(one[: at % len(one)] + two[at % len(one) :])

    return st.builds(splice, st.sampled_from(lists), st.integers(min_value=0))


def _texts() -> st.SearchStrategy[str]:
    return st.one_of(st.text(max_size=100), st.text("abcAZ019-_=", max_size=100))


def _sealed_by_nobody() -> st.SearchStrategy[str]:
    """Bytes that begin as sealed ones do, with a version and the name of a key."""
    return st.builds(lambda rest: _text(b"\x01\x04test" + rest), st.binary(max_size=64))


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()
