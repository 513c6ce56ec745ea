"""The reference of `ingest_ratio`: asyncpg alone commits the rows of a message in groups.

Behind HTTP it is served by FastAPI with nothing around it; run as a module, it has no HTTP at all.
"""

import asyncio
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import asyncpg
import click
import uvloop
from fastapi import FastAPI, Request, Response

from app.cli.bench.wire import EVENT_TYPE, event_payload
from app.cli.bench.world import DATABASE_VARIABLE, TENANTS_VARIABLE, Tenant, read_tenants
from app.domain import ids
from app.kit.clock import new_id

BATCH = 128
_RETENTION = timedelta(days=90)
_ENTER = "SELECT set_config('app.organisations', $1, true)"
_KEYS = """
INSERT INTO idempotency_keys (environment_id, key, body_digest, status, response)
SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::smallint[], $5::bytea[])
ON CONFLICT DO NOTHING RETURNING key
"""
_MESSAGES = """
INSERT INTO messages (environment_id, id, application_id, event_type, created_at, payload_expires_at, fan_out)
SELECT o, i, a, t, c, e, ARRAY[p] FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[],
    $6::timestamptz[], $7::uuid[]) AS given(o, i, a, t, c, e, p)
"""
_PAYLOADS = """
INSERT INTO payloads (environment_id, message_id, expires_on, content_type, body)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::text[], $5::bytea[])
"""
_DUE = """
INSERT INTO due_deliveries (environment_id, endpoint_id, message_id, trigger, application_id, lane, state, due_at,
    attempt, failures, expires_on, event_type)
SELECT o, p, i, 0, a, 0, 0, now(), 0, 0, e, t
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::date[], $6::text[]) AS given(o, p, i, a, e, t)
"""


@dataclass(frozen=True, slots=True)
class Post:
    """A message to be stored."""

    tenant: Tenant
    message_id: UUID
    key: bytes
    digest: bytes
    response: bytes
    payload: bytes
    created_at: datetime


class Committer:
    """One connection; whatever waits goes into its next transaction."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[Post, asyncio.Future[None]]] = []
        self._filled = asyncio.Event()

    async def commit(self, post: Post) -> None:
        """Returns when the message is durable."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((post, done))
        self._filled.set()
        await done

    async def run(self) -> None:
        """Commits for ever."""
        while True:
            await self._filled.wait()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting:
                self._filled.clear()
            async with self._connection.transaction():
                await self._store([post for post, _ in batch])
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

    async def _store(self, posts: Sequence[Post]) -> None:
        fetch = self._connection.fetch
        tenants = [post.tenant for post in posts]
        organisations = [one.environment_id for one in tenants]
        messages = [post.message_id for post in posts]
        applications = [one.application_id for one in tenants]
        endpoints = [one.endpoint_id for one in tenants]
        created = [post.created_at for post in posts]
        expire = [moment + _RETENTION for moment in created]
        days = [moment.date() for moment in expire]
        types = [EVENT_TYPE] * len(posts)
        await fetch(_ENTER, ",".join({str(one) for one in organisations}))
        digests, responses = [post.digest for post in posts], [post.response for post in posts]
        await fetch(_KEYS, organisations, [post.key for post in posts], digests, [202] * len(posts), responses)
        await fetch(_MESSAGES, organisations, messages, applications, types, created, expire, endpoints)
        content_types = ["application/json"] * len(posts)
        await fetch(_PAYLOADS, organisations, messages, days, content_types, [post.payload for post in posts])
        await fetch(_DUE, organisations, endpoints, messages, applications, days, types)


@asynccontextmanager
async def committing(url: str) -> AsyncIterator[Committer]:
    """A committer at work."""
    connection = await asyncpg.connect(url)
    committer = Committer(connection)
    running = asyncio.create_task(committer.run())
    try:
        yield committer
    finally:
        running.cancel()
        await connection.close()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    tenants = read_tenants(Path(os.environ[TENANTS_VARIABLE]))
    app.state.tenants = {one.caller().app: one for one in tenants}
    async with committing(os.environ[DATABASE_VARIABLE]) as app.state.committer:
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/api/v1/app/{app_id}/msg", status_code=202)
async def accept(request: Request, app_id: str) -> Response:
    """Stores a message of about the same form as ours; nobody is asked who they are."""
    body = await request.body()
    event = json.loads(body)
    payload = json.dumps(event["payload"]).encode()
    post = _post(request.app.state.tenants[app_id], request.headers["idempotency-key"], body, payload)
    await request.app.state.committer.commit(post)
    return Response(post.response + payload + b"}", 202, media_type="application/json")


def _post(tenant: Tenant, key: str, body: bytes, payload: bytes) -> Post:
    message_id, now = new_id(), datetime.now(UTC)
    known = {"id": ids.encode("msg", message_id), "eventType": EVENT_TYPE, "timestamp": now.isoformat()}
    head = json.dumps(known).encode()[:-1] + b', "payload": '
    digest = sha256(body).digest()
    return Post(tenant, message_id, sha256(key.encode()).digest(), digest, head, payload, now)


async def feed(url: str, tenants: Sequence[Tenant], producers: int, seconds: float) -> float:
    """Messages a second that `producers`, each with one message after the other, get committed."""
    turns, numbers, payload = itertools.cycle(tenants), itertools.count(), event_payload()
    done, run = 0, os.urandom(8).hex()

    async def produce(until: float) -> None:
        nonlocal done
        while time.monotonic() < until:
            await committer.commit(_post(next(turns), f"{run}-{next(numbers)}", payload, payload))
            done += 1

    async with committing(url) as committer:
        began = time.monotonic()
        await asyncio.gather(*(produce(began + seconds) for _ in range(producers)))
        return done / (time.monotonic() - began)


@click.command()
@click.option("--producers", required=True, type=int)
@click.option("--seconds", required=True, type=float)
def main(producers: int, seconds: float) -> None:
    """Commit messages and print how many a second."""
    tenants = read_tenants(Path(os.environ[TENANTS_VARIABLE]))
    per_second = uvloop.run(feed(os.environ[DATABASE_VARIABLE], tenants, producers, seconds))
    click.echo(json.dumps({"per_second": per_second}))


if __name__ == "__main__":
    main()
