"""A flood of sign-ins waits outside, and looks around go in."""

import asyncio

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from app.console.door import Door
from app.kit.turns import Turns


class Room:
    """Where one sign-in takes its time."""

    def __init__(self) -> None:
        self.inside = self.most = self.came = 0

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.came += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.3)
        self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})


async def ask(door: Door, method: str, path: str) -> int:
    """The status of an answer."""
    sent: list[int] = []

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            sent.append(int(str(message["status"])))

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await door({"type": "http", "method": method, "path": path, "headers": []}, receive, send)  # type: ignore[arg-type]  # messages as starlette spells them
    return sent[0]


@pytest.mark.parametrize("path", ["/sign-in", "/sign-in/"])
async def test_one_goes_in_at_a_time_and_who_waits_too_long_is_told(path: str) -> None:
    room = Room()
    door = Door(room, Turns(1, 0.1), page="/sign-in", base="")
    statuses = await asyncio.gather(*(ask(door, "POST", path) for _ in range(20)))
    assert room.most == 1
    assert sorted(set(statuses)) == [200, 503]
    assert statuses.count(200) == room.came < 5


async def test_whatever_is_no_sign_in_waits_for_nobody() -> None:
    room = Room()
    door = Door(room, Turns(1, 0.1), page="/sign-in", base="")
    asked = [("GET", "/sign-in"), ("POST", "/sign-in/again"), ("POST", "/oauth/token"), ("POST", "/sign-in")] * 2
    assert (await asyncio.gather(*(ask(door, *one) for one in asked))).count(200) == 7
    assert room.most >= 6


def test_who_is_turned_away_reads_what_to_do() -> None:
    async def full(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    answer = TestClient(Door(full, Turns(0, 0.01), page="/sign-in", base="/hooks")).post("/sign-in")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert 'data-reason="busy"' in answer.text
    assert 'href="/hooks/sign-in"' in answer.text
