"""Requests of two organisations, all mixed, over fewer connections to the database than there are requests at once."""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.api.client import Api, Reply
from tests.receiver import Receiver

AT_ONCE = 24
SHARED = "/app/shared"


@dataclass
class Citizen:
    """An organisation with the same names as the other one; whatever is its own bears its mark."""

    api: Api
    portal: Api
    mark: str
    app_id: str
    path: str
    posted: set[str] = field(default_factory=set)

    @classmethod
    async def settled(cls, api: Api, receiver: Receiver) -> "Citizen":
        mark = secrets.token_hex(8)
        made = await api.post("/app", {"name": mark, "uid": "shared"})
        path = receiver.path()
        endpoint = {"url": receiver.base + path, "uid": "shared", "description": mark}
        assert (await api.post(f"{SHARED}/endpoint", endpoint)).status == 201
        assert (await api.post("/event-type", {"name": "a.b", "description": mark})).status == 201
        return cls(api, await api.portal("shared"), mark, made.body["id"], path)


@dataclass
class Load:
    """What was asked, and every answer that was wrong."""

    citizens: Sequence[Citizen]
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def run(self, number: int, seed: int = 1) -> None:
        """So many requests, each of another kind and of another organisation than the one before, as the dice say."""
        dice, numbers = random.Random(seed), iter(range(number))

        async def ask_on() -> None:
            for one in numbers:
                await self._ask(dice, one)

        await asyncio.gather(*(ask_on() for _ in range(AT_ONCE)))

    async def _ask(self, dice: random.Random, number: int) -> None:
        mine, other = dice.sample(self.citizens, 2)
        name = dice.choice(tuple(KINDS))
        status, shows_mark = KINDS[name]
        reply = await getattr(self, f"_{name}")(mine, other, number)
        self.kinds[name] += 1
        fine = reply.status == status and (mine.mark.encode() in reply.raw) == shows_mark
        if other.mark.encode() in reply.raw or not fine:
            self.wrong.append(f"{name}: {reply.status} {reply.raw[:300]!r}")

    async def _ingest(self, mine: Citizen, _other: Citizen, number: int) -> Reply:
        body = {"eventType": "a.b", "eventId": f"event-{number}", "payload": {"whose": mine.mark}}
        reply = await mine.api.post(f"{SHARED}/msg", body)
        mine.posted.add(reply.body.get("id", ""))
        return reply

    async def _one(self, mine: Citizen, _other: Citizen, _number: int) -> Reply:
        return await mine.api.get(SHARED)

    async def _list(self, mine: Citizen, _other: Citizen, _number: int) -> Reply:
        return await mine.api.get("/app")

    async def _messages(self, mine: Citizen, _other: Citizen, number: int) -> Reply:
        return await mine.api.get(f"{SHARED}/endpoint/shared" if number % 2 else "/event-type/a.b")

    async def _portal(self, mine: Citizen, _other: Citizen, _number: int) -> Reply:
        return await mine.portal.get(f"{SHARED}/endpoint")

    async def _change(self, mine: Citizen, _other: Citizen, number: int) -> Reply:
        return await mine.api.patch(SHARED, {"metadata": {"whose": mine.mark, "number": str(number)}})

    async def _once(self, mine: Citizen, _other: Citizen, number: int) -> Reply:
        return await mine.api.post("/auth/logout", key=f"key-{number % 50}")

    async def _foreign(self, mine: Citizen, other: Citizen, _number: int) -> Reply:
        return await mine.api.get(f"/app/{other.app_id}/endpoint")

    async def _refused(self, mine: Citizen, _other: Citizen, _number: int) -> Reply:
        return await mine.api.post("/app", {"name": "taken", "uid": "shared"})

    async def _nobody(self, mine: Citizen, _other: Citizen, number: int) -> Reply:
        return await mine.api.with_credential(f"nobody-{number}").get(SHARED)


# What each kind answers, and whether the answer shows the mark of whose it is.
KINDS = {
    "ingest": (202, True),
    "one": (200, True),
    "list": (200, True),
    "messages": (200, True),
    "portal": (200, True),
    "change": (200, True),
    "once": (204, False),
    "foreign": (404, False),
    "refused": (409, False),
    "nobody": (401, False),
}
