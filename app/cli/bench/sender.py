"""The reference of `delivered_ratio`: aiohttp alone, sending what a worker sends to the same receiver."""

import asyncio
import itertools
import json
import time
from uuid import uuid4

import aiohttp
import click

from app.cli.bench.wire import event_payload

_PATHS = 50
_SIGNATURE = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="


def _headers() -> dict[str, str]:
    # As many and as long as ours, but nothing is signed.
    return {
        "content-type": "application/json",
        "webhook-id": f"msg_{uuid4().hex[:26]}",
        "webhook-timestamp": "1700000000",
        "webhook-signature": _SIGNATURE,
    }


async def send(url: str, in_flight: int, seconds: float) -> float:
    """Sends webhooks for `seconds`, with `in_flight` at once; the CPU seconds that it took."""
    body, turns, until = event_payload(), itertools.count(), time.monotonic() + seconds

    async def send_one_after_the_other() -> None:
        while time.monotonic() < until:
            async with session.post(f"{url}/{next(turns) % _PATHS}", data=body, headers=_headers()) as answer:
                await answer.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        cpu = time.process_time()
        await asyncio.gather(*(send_one_after_the_other() for _ in range(in_flight)))
        return time.process_time() - cpu


@click.command()
@click.option("--url", required=True)
@click.option("--in-flight", required=True, type=int)
@click.option("--seconds", required=True, type=float)
def main(url: str, in_flight: int, seconds: float) -> None:
    """Send webhooks and print what it cost."""
    click.echo(json.dumps({"cpu_seconds": asyncio.run(send(url, in_flight, seconds))}))


if __name__ == "__main__":
    main()
