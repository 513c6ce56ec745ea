"""The probe's receiver keeps the last of what it got, and no more than it should."""

import threading
from collections.abc import Iterator

import pytest

from app.cli.dev.ports import any_free
from app.cli.probe.receiver import HOOKS, RECEIVED, Delivery, Received, make_receiver
from app.cli.probe.sending import ask


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = any_free()
    with make_receiver("127.0.0.1", port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{port}"
        server.shutdown()
        thread.join()


def test_what_came_is_shown_as_it_came(url: str) -> None:
    assert ask("POST", f"{url}{HOOKS}word", b"\x00body", {"Webhook-Id": "msg_1"})[0] == 204
    status, content = ask("GET", f"{url}{RECEIVED}word", None, {})
    assert status == 200
    found = Delivery.of_json(content)
    assert (found.body, found.headers["webhook-id"]) == (b"\x00body", "msg_1")


def test_it_lives_and_knows_nothing_else(url: str) -> None:
    assert ask("GET", f"{url}/", None, {})[0] == 200
    assert ask("GET", f"{url}{RECEIVED}other", None, {})[0] == 404
    assert ask("GET", f"{url}/word", None, {})[0] == 404
    assert ask("POST", f"{url}/word", b"{}", {})[0] == 404


def test_it_takes_no_more_than_it_keeps(url: str) -> None:
    assert ask("POST", f"{url}{HOOKS}large", bytes(64 * 1024), {})[0] == 204
    # Of the rest nothing is read, so that the connection may end before all is sent.
    assert ask("POST", f"{url}{HOOKS}larger", b"", {"content-length": str(64 * 1024 + 1)})[0] == 413
    assert ask("GET", f"{url}{RECEIVED}larger", None, {})[0] == 404


def test_the_oldest_is_forgotten() -> None:
    received = Received()
    for number in range(1001):
        received.keep(str(number), Delivery({}, b""))
    assert received.find("0") is None
    assert received.find("1000") == Delivery({}, b"")
