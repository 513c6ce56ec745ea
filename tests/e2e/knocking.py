"""Somebody who tries to sign in as fast as answers come, each time as another: run as a process of its own."""

import asyncio
import itertools
import json
import re
import sys
import time
import urllib.request
from urllib.parse import urlencode
from uuid import uuid4

from app.cli.bench.load import ClosedLoop, Pool
from app.cli.bench.wire import Requests, Server

CSRF = re.compile(r'name="csrf" value="([0-9a-f]+)"')


class Knocks(Requests):
    """Endless forms with a wrong password, each for an address of its own."""

    def __init__(self, url: str) -> None:
        with urllib.request.urlopen(f"{url}/sign-in") as page:  # noqa: S310 our own server
            cookie = page.headers["set-cookie"].partition(";")[0]
            found = CSRF.search(page.read().decode())
        assert found is not None
        self._server, self._url, self._cookie, self._csrf = Server.at(url), url, cookie, found[1]
        self._run, self._count = uuid4().hex, itertools.count()

    def __next__(self) -> bytes:
        """The bytes of the next request."""
        address = f"{self._run}.{next(self._count)}@example.test"
        body = urlencode({"csrf": self._csrf, "next": "", "email": address, "password": "a wrong password"}).encode()
        lines = (
            "POST /sign-in HTTP/1.1",
            f"host: {self._server.host}:{self._server.port}",
            f"origin: {self._url}",
            f"cookie: {self._cookie}",
            "content-type: application/x-www-form-urlencoded",
            f"content-length: {len(body)}",
            "",
            "",
        )
        return "\r\n".join(lines).encode() + body


async def knock(url: str, connections: int, seconds: float) -> ClosedLoop:
    """Tries over so many connections for so long."""
    loop = ClosedLoop(Knocks(url))
    pool = Pool(Server.at(url), loop)
    until = time.monotonic() + seconds
    for _ in range(connections):
        await pool.open()
    await asyncio.sleep(until - time.monotonic())
    loop.stop()
    await asyncio.sleep(1.5)
    pool.close()
    return loop


if __name__ == "__main__":
    done = asyncio.run(knock(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
    print(json.dumps({"answers": done.answers}))  # noqa: T201 what the process is asked for
