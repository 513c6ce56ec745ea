"""What schemathesis is told beside the document: things that this installation has, and which refusals are right.

It runs in an environment of its own, where nothing of the product is installed. Random ids name nothing and would show
only that a 404 is a 404; so in place of what the document allows stands something that is there, while whatever breaks
the document is left as it is.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Protocol

import requests
import schemathesis
from hypothesis import strategies

from tests.fuzz.exclusions import excluded

KNOWN = json.loads(os.environ["FUZZ_KNOWN"])
NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,256}")
TYPE_ID = re.compile(r"[a-z]+_[0-9a-z]{26}")
KEY = re.compile(r"[\x20-\x7e]{1,256}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
SECRET = re.compile(r"(whsec_|whsk_)?[a-zA-Z0-9+/=]{32,100}")
SCOPE = re.compile(r"[a-z-]+:[a-z]+")
METHOD = re.compile(r"client_secret_basic|client_secret_post|private_key_jwt|none")
GRANTS = ("authorization_code", "client_credentials", "password", "refresh_token")
ISSUER = re.compile(r"https?://[^?#]{1,2040}")
TAGS = re.compile(r'\*|(W/)?"[^"]*"([ \t]*,[ \t]*(W/)?"[^"]*")*')
PEM = re.compile(r"(?s)(?=.*-----BEGIN CERTIFICATE-----).{0,65536}")
MOST_KEYS = 10
SEALED_CHARACTERS = 40
NUMBERS = count()
ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
DOMAIN = re.compile(r"[^\x00-\x20\x7f@:/]{1,253}")
MADE_TO_BE_DELETED = (
    *("app_id", "event_type_name", "msg_id", "endpoint_id", "key_id", "secret_id"),
    *("member_id", "invitation_id", "client_id", "provider_id", "domain"),
)
KEYS = "/organisation/api-key"
CLIENTS = "/organisation/oauth-client"
PROVIDERS = "/organisation/identity-provider"
WRITES = ("DELETE", "PATCH", "PUT")
# Endpoints that nothing disables, for what a disabled one refuses.
STEADY = ("recover", "replay-missing", "bulk-replay", "send-example", "resend")

schemathesis.openapi.format("uri", strategies.from_regex(rf"{re.escape(KNOWN['url'])}/[a-z0-9/]{{0,60}}\Z"))


class Draw(Protocol):
    """A value that schemathesis took from an earlier answer."""

    parameter_name: str


class Meta(Protocol):
    """How a case came about."""

    pool_draws: tuple[Draw, ...]
    phase: "Phase"
    generation: "Generation"


class Name(Protocol):
    """A member of an enumeration."""

    value: str


class Phase(Protocol):
    """The phase of a run."""

    name: Name


class Generation(Protocol):
    """Whether a case keeps the document or breaks it."""

    mode: Name


class Case(Protocol):
    """A request that is about to be sent."""

    method: str
    path: str
    formatted_path: str
    body: object
    query: MutableMapping[str, object]
    headers: MutableMapping[str, object]
    path_parameters: MutableMapping[str, object]
    meta: Meta | None


class Failure(Protocol):
    """What a check found."""

    code: str


class Response(Protocol):
    """What was answered."""

    status_code: int
    content: bytes


def _like(pattern: re.Pattern[str], make: Callable[[str], object]) -> Callable[[object], object]:
    """Something else in place of text of this pattern; anything else stays."""
    return lambda value: make(value) if isinstance(value, str) and pattern.fullmatch(value) else value


def _unique(value: str) -> str:
    return f"{value[:240]}.{next(NUMBERS)}"


def _ago(hours: int) -> Callable[[str], str]:
    return lambda _: (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


def _of(known: Sequence[str]) -> Callable[[object], object]:
    """In place of so many names so many that are known."""

    def choose(value: object) -> object:
        if not isinstance(value, list) or not all(isinstance(one, str) and NAME.fullmatch(one) for one in value):
            return value
        return known[: len(value)] if len(set(value)) == len(value) <= len(known) else value

    return choose


def _elsewhere(value: object) -> object:
    """The receiver in place of Postrider's own API: an address that an answer told is drawn for every field `url`."""
    return KNOWN["url"] if isinstance(value, str) and value.startswith(KNOWN["api"]) else value


def _without_nul(value: object) -> object:
    """The same without what no schema forbids in text of every depth."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(one) for one in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(one) for name, one in value.items()}
    return value


def _nowhere(value: object) -> object:
    """In place of networks none: nobody is to be shut out."""
    return [] if isinstance(value, list) and all(isinstance(one, str) for one in value) else value


def _scopes(value: object) -> object:
    """Something that every role may, in place of what some may not."""
    known = isinstance(value, list) and value and all(isinstance(one, str) and SCOPE.fullmatch(one) for one in value)
    return ["application:read"] if known else value


def _grants(value: object) -> object:
    """Those that go with a secret and without an address, in place of what hangs on other fields."""
    if not isinstance(value, list) or not all(isinstance(one, str) and one in GRANTS for one in value):
        return value
    return ["client_credentials"] if 0 < len(value) <= len(GRANTS) else value


def _without_keys(value: object) -> object:
    """No keys in place of a set of them: a client with a secret has none."""
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(keys, list) or not all(isinstance(one, dict) for one in keys):
        return value
    return None if 0 < len(keys) <= MOST_KEYS else value


BODY = {
    "allowedNetworks": _nowhere,
    "deniedNetworks": _nowhere,
    "expiresAt": _like(MOMENT, lambda _: "2100-01-01T00:00:00Z"),
    "scopes": _scopes,
    "caPem": _like(PEM, lambda _: KNOWN["certificate"]),
    "url": _elsewhere,
    "email": _like(ADDRESS, lambda _: f"somebody.{next(NUMBERS)}@example.test"),
    "issuer": _like(ISSUER, lambda _: KNOWN["issuer"]),
    "domain": _like(DOMAIN, lambda _: f"theirs-{next(NUMBERS)}.example.test"),
    "eventTypes": _of(KNOWN["eventTypes"]),
    "filterTypes": _of(KNOWN["eventTypes"]),
    "secret": _like(SECRET, lambda _: KNOWN["secret"]),
    "key": _like(SECRET, lambda _: KNOWN["secret"]),
    "since": _like(MOMENT, _ago(2)),
    "until": _like(MOMENT, _ago(1)),
    "uid": _like(NAME, _unique),
    "eventId": _like(NAME, _unique),
}
OPERATIONAL = BODY | {name: _of(KNOWN["operationalTypes"]) for name in ("eventTypes", "filterTypes")}
CLIENT = BODY | {
    "grantTypes": _grants,
    "authMethod": _like(METHOD, lambda _: "client_secret_basic"),
    "jwks": _without_keys,
}
NEW_EVENT_TYPE = BODY | {"name": _like(NAME, _unique)}
EXAMPLE = BODY | {"eventType": _like(NAME, lambda _: (KNOWN["eventTypes"][0], "svix.ping")[next(NUMBERS) % 2])}
QUERY = {name: BODY[name] for name in ("since", "until")}
HEADERS = {
    "idempotency-key": _like(KEY, _unique),
    "if-match": _like(TAGS, lambda _: "*"),
    "if-none-match": _like(TAGS, lambda _: '"another"'),
}


def before_call(_context: object, case: Case, _kwargs: object) -> None:
    """Puts in what is there."""
    if case.meta and case.meta.generation.mode.value == "positive":
        case.body = _without_nul(case.body)
    if isinstance(case.body, dict):
        _change(case.body, _values(case.path))
    _change(case.query, QUERY)
    if case.path.startswith("/api/v1/organisation") and case.method == "PATCH":
        case.headers.setdefault("if-match", "*")
    _change(case.headers, HEADERS)
    if len(str(case.query.get("iterator", ""))) < SEALED_CHARACTERS:
        case.query.pop("iterator", None)
    phase = case.meta.phase.name.value if case.meta else "none"
    # What schemathesis drew from earlier answers is kept every other time: it may be gone, or of another application.
    keeps = case.meta is not None and phase == "fuzzing" and next(NUMBERS) % 2
    drawn = {one.parameter_name for one in case.meta.pool_draws} if case.meta and keeps else set()
    for name, value in dict(case.path_parameters).items():
        if NAME.fullmatch(str(value)):
            case.path_parameters[name] = _place(case, name, str(value), keep=phase == "stateful" or name in drawn)


def _values(path: str) -> Mapping[str, Callable[[object], object]]:
    if path == "/api/v1/event-type":
        return NEW_EVENT_TYPE
    if path.endswith("/send-example"):
        return EXAMPLE
    if CLIENTS in path:
        return CLIENT
    return OPERATIONAL if path.startswith("/api/v1/operational-webhook") else BODY


def _change(values: MutableMapping[str, object], by: Mapping[str, Callable[[object], object]]) -> None:
    for name in by.keys() & values.keys():
        values[name] = by[name](values[name])


def _place(case: Case, name: str, value: str, *, keep: bool) -> str:
    """What stands in a path: something that is there; for what is to be deleted, something that was just made."""
    if value in KNOWN["callers"]:
        return str(KNOWN["key_id"])
    if case.path.endswith(f"{{{name}}}/restore"):
        return _deleted(name)
    last = case.path.removesuffix("/content").endswith(f"{{{name}}}")
    lasting = value in KNOWN["eventTypes"] or value in KNOWN.values()
    if last and case.method == "DELETE" and name in MADE_TO_BE_DELETED and (lasting or not keep):
        return _made(name, case.path)
    if keep and not (lasting and case.method in WRITES):
        return value
    if last and case.method == "PUT" and not (lasting or TYPE_ID.fullmatch(value)):
        return value
    # Some invitations were sent long enough ago to be sent again.
    is_due = case.path.endswith("{invitation_id}/resend") and KNOWN["sent"]
    return str(KNOWN["sent"].pop() if is_due else KNOWN[_kind(case, name)])


def _kind(case: Case, name: str) -> str:
    if name != "endpoint_id":
        return name
    if case.path.startswith("/api/v1/operational-webhook"):
        return "operational_id"
    return "steady_id" if case.path.endswith(STEADY) else "endpoint_id"


def _deleted(name: str) -> str:
    made = _made(name, "")
    path = f"/app/{made}" if name == "app_id" else f"/app/{KNOWN['app_id']}/endpoint/{made}"
    headers = {"authorization": f"Bearer {KNOWN['key']}"}
    requests.delete(f"{KNOWN['api']}{path}", headers=headers, timeout=30).raise_for_status()
    return made


def _made(name: str, path: str) -> str:
    if name == "secret_id":
        return _older_secret(f"{CLIENTS}/{KNOWN['client_id']}" if CLIENTS in path else f"{KEYS}/{KNOWN['key_id']}")
    if name == "member_id":
        # Only people make people; those that are left to be removed come to an end.
        return str(KNOWN["members"].pop() if KNOWN["members"] else KNOWN["member_id"])
    operational = path.startswith("/api/v1/operational-webhook")
    app = f"/app/{KNOWN['app_id']}"
    places: dict[str, tuple[str, Mapping[str, Any]]] = {
        "app_id": ("/app", {"name": "to be deleted"}),
        "event_type_name": ("/event-type", {"name": _unique("gone"), "description": "to be deleted"}),
        "msg_id": (f"{app}/msg", {"eventType": "a.b", "payload": {}}),
        "endpoint_id": ("/operational-webhook/endpoint" if operational else f"{app}/endpoint", {"url": KNOWN["url"]}),
        "key_id": (KEYS, {"name": "to be revoked", "role": "viewer"}),
        "invitation_id": (
            "/organisation/invitation",
            {"email": f"gone.{next(NUMBERS)}@example.test", "role": "viewer"},
        ),
        "client_id": (CLIENTS, {"name": "to be deleted", "scopes": ["application:read"]}),
        "provider_id": (PROVIDERS, {"name": "gone", "issuer": KNOWN["issuer"], "clientId": "c", "authMethod": "none"}),
        "domain": (f"{PROVIDERS}/{KNOWN['provider_id']}/domain", {"domain": f"gone-{next(NUMBERS)}.example.test"}),
    }
    answer = _call("POST", *places[name])
    answer.raise_for_status()
    made = answer.json()
    return str(made["domain"] if name == "domain" else made.get("id") or made["name"])


def _older_secret(path: str) -> str:
    """Of two secrets of the known key, or client, the one that may be ended; the other one stays."""
    _call("POST", f"{path}/rotate", {})
    return str(_call("GET", path).json()["secrets"][1]["id"])


def _call(method: str, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
    headers = {"authorization": f"Bearer {KNOWN['key']}"}
    return requests.request(method, f"{KNOWN['api']}{path}", json=body, headers=headers, timeout=30)


def filter_failure(_context: object, failure: Failure, case: Case, response: Response) -> bool:
    """Whether a failure counts."""
    return not excluded(failure.code, case.formatted_path, response.status_code, response.content)


schemathesis.hook(before_call)
schemathesis.hook(filter_failure)
