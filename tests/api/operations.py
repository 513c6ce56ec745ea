"""Every operation of the API as its routes tell, so that a new one is looked at without being listed."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import update

from app.domain.ids import encode
from app.domain.permissions import Role
from app.kit.openapi import Documented
from app.kit.routing import PREFIX, add_routes
from app.main import ROUTERS
from app.models import Invitation
from tests.api.client import Api, Reply
from tests.api.world import World, uuid_of
from tests.people.visitor import new_person

NUMBERS = count()
# What a body needs at least, by the names of its fields.
REQUIRED: Mapping[str, object] = {
    "clientId": "some-client",
    "description": "",
    "domain": "example.test",
    "email": "somebody@example.test",
    "eventType": "svix.ping",
    "headers": {},
    "issuer": "https://idp.example.test",
    "name": "some.name",
    "payload": {},
    "role": "viewer",
    "scopes": ["message:read"],
    "url": "http://127.0.0.1:9/hook",
}


@dataclass(frozen=True)
class Operation:
    """One method of one path below /api/v1; `described` is its part of the OpenAPI document, components put in."""

    method: str
    path: str
    described: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def body(self) -> Mapping[str, Any]:
        """The schema of the body, empty for an operation without one."""
        content = self.described.get("requestBody", {}).get("content", {})
        schema: Mapping[str, Any] = content.get("application/json", {}).get("schema", {})
        return schema

    @property
    def is_ours(self) -> bool:
        """Whether the contract does not know it."""
        return self.body.get("additionalProperties") is False

    @property
    def fields(self) -> Mapping[str, Mapping[str, Any]]:
        """The schemas of the body's fields."""
        fields: Mapping[str, Mapping[str, Any]] = self.body.get("properties", {})
        return fields

    def parameters(self, place: str) -> Mapping[str, Mapping[str, Any]]:
        """The schemas of the parameters in the path, the query or the header."""
        found = self.described.get("parameters", ())
        return {one["name"]: one["schema"] for one in found if one["in"] == place}

    @property
    def whatever_version(self) -> dict[str, str]:
        """The header without which it does not change what others may have changed."""
        return {"if-match": "*"} if "if-match" in self.parameters("header") else {}

    def least(self) -> dict[str, object]:
        """A new body that is taken."""
        values = {**REQUIRED, "since": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
        made = {name: values[name] for name in self.body.get("required", ())}
        # A provider's client has a secret, unless it says that it has none.
        made |= {"authMethod": "none"} if str(self) == "POST /organisation/identity-provider" else {}
        # Event types have no ids: each needs a name of its own.
        return made | ({"name": f"type.{next(NUMBERS)}"} if self.path == "/event-type" else {})


@dataclass(frozen=True)
class Places:
    """An organisation that has one of everything, to call each operation on."""

    world: World
    operational: str
    deleted: Mapping[str, str]
    message: str
    key: str
    client: str
    people: Mapping[str, str]

    @classmethod
    async def of(cls, world: World) -> "Places":
        await world.setup()
        made = await world.api.post("/operational-webhook/endpoint", {"url": "http://127.0.0.1:9/hook"})
        await world.api.post("/event-type", {"name": "some.type", "description": ""})
        key = (await world.api.post("/organisation/api-key", {"name": "key", "role": "viewer"})).body["id"]
        client = (await world.api.post("/organisation/oauth-client", {"name": "c", "scopes": ["message:read"]})).body[
            "id"
        ]
        deleted = {
            "app_id": await _deleted(world.api, "/app"),
            "endpoint_id": await _deleted(world.api, f"{world.path}/endpoint"),
        }
        return cls(world, made.body["id"], deleted, await world.message(), key, client, await _people(world))

    @property
    def api(self) -> Api:
        return self.world.api

    def path(self, operation: Operation, **chosen: str) -> str:
        """The operation's path with things of the organisation, or what is chosen, in its places."""
        operational = operation.path.startswith("/operational-webhook")
        ids = {
            "app_id": self.world.app_id,
            "endpoint_id": self.operational if operational else self.world.endpoints[0],
            "msg_id": self.message,
            "attempt_id": "atmpt_" + "0" * 26,
            "task_id": "qtask_" + "0" * 26,
            "event_type_name": "some.type",
            "key_id": self.key,
            "client_id": self.client,
            **self.people,
            "secret_id": "sec_" + "0" * 26,
        }
        if operation.path.endswith("}/restore"):
            (last,) = re.findall(r"{(\w+)}/restore", operation.path)
            ids[last] = self.deleted[last]
        ids |= chosen
        return re.sub(r"{(\w+)}", lambda match: ids[match[1]], operation.path)

    async def send(self, operation: Operation, **fields: object) -> Reply:
        """The least body with these fields."""
        return await self.send_raw(operation, json.dumps(operation.least() | fields).encode())

    async def send_raw(self, operation: Operation, raw: bytes, **headers: str) -> Reply:
        return await self.api.call(
            operation.method, self.path(operation), raw=raw, headers=operation.whatever_version | headers
        )


async def _deleted(api: Api, path: str) -> str:
    """The id of something that was made there and deleted."""
    made = await api.post(path, {"name": "deleted", "url": REQUIRED["url"]})
    identifier: str = made.body["id"]
    assert (await api.delete(f"{path}/{identifier}")).status == 204
    return identifier


async def _people(world: World) -> dict[str, str]:
    """A person, an invitation that may be sent again, and an identity provider with a domain, by their places."""
    api = world.api
    organisation_id = uuid_of((await api.get("/organisation")).body["id"])
    invited = {"email": "invited@example.test", "role": "viewer"}
    invitation = (await api.post("/organisation/invitation", invited)).body["id"]
    with world.sessions.begin() as db:
        db.execute(update(Invitation).values(sent_at=Invitation.sent_at - timedelta(hours=1)))
    new = {"name": "p", "issuer": REQUIRED["issuer"], "clientId": "c", "authMethod": "none"}
    provider = (await api.post("/organisation/identity-provider", new)).body["id"]
    await api.post(f"/organisation/identity-provider/{provider}/domain", {"domain": "theirs.example.test"})
    return {
        "member_id": encode("user", new_person(world.sessions, organisation_id, Role.support, password=None).id),
        "invitation_id": invitation,
        "provider_id": provider,
        "domain": "theirs.example.test",
    }


def is_problem(reply: Reply, status: int) -> bool:
    """Whether it is an error as every error is written."""
    if not (reply.status == status and reply.headers["content-type"] == "application/json"):
        return False
    body = reply.body
    detail = body["detail"]
    named = isinstance(detail, list) and detail and all(one["loc"] and one["msg"] and one["type"] for one in detail)
    return bool(body["code"] and body["status"] == status and (named if status == 422 else isinstance(detail, str)))


def _operations() -> Iterator[Operation]:
    app = Documented()
    add_routes(app, ROUTERS)
    paths = app.openapi()["paths"]
    contexts = [one for one in iter_route_contexts(app.routes) if isinstance(one.original_route, APIRoute)]
    # The older paths of an operation are left out of the document, and are looked at as well.
    shown = {one.endpoint: one.path for one in contexts if one.include_in_schema}
    for one in contexts:
        for method in one.methods or ():
            described = paths.get(shown.get(one.endpoint), {}).get(method.lower(), {})
            yield Operation(method, str(one.path).removeprefix(PREFIX), _resolved(app.openapi(), described))


def _resolved(document: Mapping[str, Any], node: Any) -> Any:  # noqa: ANN401 whatever a document holds
    if isinstance(node, list):
        return [_resolved(document, one) for one in node]
    if not isinstance(node, dict):
        return node
    if reference := node.get("$ref"):
        kind, name = reference.split("/")[-2:]
        return _resolved(document, document["components"][kind][name])
    return {name: _resolved(document, one) for name, one in node.items()}


OPERATIONS = sorted(_operations(), key=str)
WITH_BODY = [one for one in OPERATIONS if one.body]
