"""Whether the broker answers."""

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

TIMEOUT_SECONDS = 0.5


async def answers(url: str) -> bool:
    """Whether the server at `url` answers within half a second."""
    client = Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return bool(await client.ping())
    except (RedisError, OSError, TimeoutError):
        return False
    finally:
        await client.aclose()
