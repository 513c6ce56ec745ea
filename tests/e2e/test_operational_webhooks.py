"""Every event of Postrider's own, delivered and verified like any other."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from standardwebhooks import Webhook

from app.features.operational_webhooks.events import EVENT_TYPES
from tests.e2e.customer import Customer, eventually
from tests.receiver import Answer, Receiver

ENDPOINT = {"appId", "appUid", "endpointId", "endpointUid"}
ATTEMPT = {"appId", "appUid", "endpointId", "msgId", "msgEventId", "lastAttempt"}
DATA = {
    "api_key.expiring": {"keyId", "name", "secretId", "hint", "endsAt"},
    "background_task.finished": {"taskId", "task", "status", "data"},
    "endpoint.created": ENDPOINT,
    "endpoint.updated": ENDPOINT,
    "endpoint.deleted": ENDPOINT,
    "endpoint.disabled": ENDPOINT | {"failSince"},
    "message.attempt.exhausted": ATTEMPT,
    "message.attempt.failing": ATTEMPT,
    "message.attempt.recovered": ATTEMPT,
}


def test_every_event_arrives_signed(customer: Customer, receiver: Receiver) -> None:
    told = receiver.path()
    listener = customer.api.post("/operational-webhook/endpoint", {"url": f"{receiver.base}{told}"})["id"]
    secret = customer.api.get(f"/operational-webhook/endpoint/{listener}/secret")["key"]
    recovering, gone = receiver.path(*[Answer(500)] * 4, Answer(200)), receiver.path(Answer(500), Answer(410))
    endpoints = {
        "recovering": customer.endpoint(f"{receiver.base}{recovering}", retrySchedule=[0] * 5, uid="recovering"),
        "gone": customer.endpoint(f"{receiver.base}{gone}", retrySchedule=[0], uid="gone"),
    }
    path = f"/app/{customer.app}/endpoint"
    customer.api.call("PATCH", f"{path}/recovering", {"description": "changed"})
    message = customer.send(eventId="first")
    receiver.wait(recovering, 5)
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    task = customer.api.post(f"{path}/recovering/recover", {"since": hour_ago}, 202)["id"]
    eventually(lambda: customer.api.get(f"/background-task/{task}")["status"] != "running")
    key = customer.api.post("/organisation/api-key", {"name": "turned", "role": "viewer"})["id"]
    # It is told of an end when half of the time until then is over.
    customer.api.post(f"/organisation/api-key/{key}/rotate", {"overlapSeconds": 6}, 200)
    customer.send(channels=["second"])
    eventually(lambda: customer.state("gone")["disabled"])
    assert customer.api.call("DELETE", f"{path}/recovering").status == 204

    eventually(lambda: {json.loads(one.body)["type"] for one in receiver.at(told)} == set(EVENT_TYPES))
    found: dict[str, Any] = {}
    for one in receiver.at(told):
        body = Webhook(secret).verify(one.body, dict(one.headers))
        found.setdefault(body["type"], body["data"])
    assert {name: set(data) for name, data in found.items()} == DATA
    assert (found["api_key.expiring"]["keyId"], found["api_key.expiring"]["name"]) == (key, "turned")
    for name in ("created", "updated", "deleted", "disabled"):
        data = found[f"endpoint.{name}"]
        assert endpoints[data["endpointUid"]] == data["endpointId"]
        assert data["appUid"] == customer.app
    for name in ("failing", "recovered"):
        data = found[f"message.attempt.{name}"]
        assert (data["msgId"], data["msgEventId"]) == (message, "first")
        assert data["lastAttempt"]["responseStatusCode"] == (500 if name == "failing" else 200)
    finished = found["background_task.finished"]
    assert (finished["taskId"], finished["task"], finished["status"]) == (task, "endpoint.recover", "finished")
