"""The reference of `delivered_ratio`: aiohttp alone, sending what a worker sends to the same receiver."""

import asyncio
import json
import time
from collections.abc import Iterator
from uuid import uuid4

import aiohttp
import click

from app.cli.bench.wire import event_payload

_SIGNATURE = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="


def _headers() -> dict[str, str]:
    # As long as ours, but nothing is signed.
    return {
        "content-type": "application/json",
        "webhook-id": f"msg_{uuid4().hex[:26]}",
        "webhook-timestamp": "1700000000",
        "webhook-signature": _SIGNATURE,
    }


async def _send(session: aiohttp.ClientSession, url: str, body: bytes, turns: Iterator[int]) -> None:
    for turn in turns:
        async with session.post(f"{url}/{turn % 50}", data=body, headers=_headers()) as answer:
            await answer.read()


async def send(url: str, count: int, in_flight: int) -> float:
    """Sends `count` webhooks, up to `in_flight` at once; the seconds it took."""
    turns, body = iter(range(count)), event_payload()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.monotonic()
        await asyncio.gather(*(_send(session, url, body, turns) for _ in range(in_flight)))
        return time.monotonic() - began


@click.command()
@click.option("--url", required=True)
@click.option("--count", required=True, type=int)
@click.option("--in-flight", required=True, type=int)
def main(url: str, count: int, in_flight: int) -> None:
    """Send webhooks and print how long it took."""
    click.echo(json.dumps({"seconds": asyncio.run(send(url, count, in_flight))}))


if __name__ == "__main__":
    main()
