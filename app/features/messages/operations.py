"""The one way in: a batch of messages with all that they owe becomes rows, in the caller's transaction."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from app.domain import ids
from app.domain.filters import Subscription, matches
from app.features.messages import ingest_queries as queries
from app.kit.arrays import transpose
from app.kit.clock import new_id
from app.kit.direct import fetch
from app.kit.errors import Kind, Problem, conflict, not_found
from app.kit.wakes import Wake, ask
from app.models import ApplicationKind, DueState

_EVERYTHING = Subscription()
_NONE: frozenset[str] = frozenset()
_NO_KEY = (None, None, None, None)
_HELD, _READY = int(DueState.held), int(DueState.ready)
_known_partitions: WeakKeyDictionary[Engine, set[tuple[str, date]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a request safe to repeat: digests of its key and of its body, and the status of its answer."""

    key: bytes
    body_digest: bytes
    status: int


@dataclass(frozen=True, slots=True)
class NewApplication:
    """The application to make when the message names none that exists."""

    uid: str
    name: str
    throttle_rate: int | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that asks to come in. `application` is an id or a uid.

    `body` is sent and signed as it is. `endpoint_id` limits the fan-out to one endpoint, whatever it subscribes to.
    `response` is what the caller is answered, and again when it repeats the request under the same `once`.
    """

    organisation_id: UUID
    application: str
    message_id: UUID
    event_type: str
    body: bytes
    content_type: str
    expires_at: datetime
    event_id: str | None = None
    channels: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    deliver_at: datetime | None = None
    endpoint_id: UUID | None = None
    kind: ApplicationKind = ApplicationKind.tenant
    response: bytes = b""
    once: Once | None = None
    new_application: NewApplication | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message is stored and owed to `endpoints` endpoints; durable when the transaction commits."""

    message_id: UUID
    endpoints: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """The request was carried out before; this is what was answered then."""

    status: int
    response: bytes


Result = Accepted | Replayed | Problem


class _Endpoint(NamedTuple):
    """What fan-out must know of an endpoint. `waits` says that its deliveries stand behind a gate at this moment."""

    id: UUID
    subscription: Subscription
    first_delay: int | None
    is_limited: bool
    waits: bool


@dataclass(slots=True)
class _Target:
    """An application with its endpoints by id, as found by queries.targets."""

    organisation_id: UUID
    id: UUID
    kind: str
    endpoints: dict[UUID, _Endpoint] = field(default_factory=dict)
    has_flags: bool = False


class _Held(NamedTuple):
    """What an idempotency key stands for: a digest of the request's body, and what was answered."""

    body_digest: bytes
    status: int
    response: bytes


@dataclass(slots=True)
class _Entry:
    """A message of the batch on its way: its target once found, its fan-out, and what came of it.

    `held` is what its idempotency key stood for before; `twin` is the same request, earlier in the batch.
    """

    incoming: Incoming
    target: _Target | None = None
    owed: Sequence[_Endpoint] = ()
    result: Result | None = None
    held: _Held | None = None
    twin: "_Entry | None" = None


def accept(db: Session, batch: Sequence[Incoming]) -> list[Result]:
    """Stores the batch and what it owes; one result for each message, in order. A refused one harms no other.

    The transaction must see the organisations of all.
    """
    entries = [_Entry(one) for one in batch]
    organisations = sorted({one.organisation_id for one in batch})
    _find_targets(db, entries)
    firsts = _without_twins([entry for entry in entries if entry.result is None])
    _fan_out(db, organisations, firsts)
    refused = _store(db, firsts)
    if refused:
        _explain(db, organisations, refused)
    return [_conclude(entry) for entry in entries]


def _without_twins(entries: Iterable[_Entry]) -> list[_Entry]:
    """The first of those that have the same idempotency key, which the others repeat."""
    firsts: dict[bytes, _Entry] = {}
    for entry in entries:
        if once := entry.incoming.once:
            first = firsts.setdefault(once.key, entry)
            entry.twin = None if first is entry else first
    return [entry for entry in entries if entry.twin is None]


def _conclude(entry: _Entry) -> Result:
    twin = entry.twin
    if twin is None:
        return entry.result or Accepted(entry.incoming.message_id, len(entry.owed))
    if twin.held is None and isinstance(twin.result, Problem):
        return twin.result
    return _replay(entry.incoming, twin.held or _answer(twin.incoming))


def _find_targets(db: Session, entries: Sequence[_Entry]) -> None:
    _match_targets(db, entries)
    asked = [entry for entry in entries if entry.target is None and entry.incoming.new_application]
    if asked:
        _make_applications(db, asked)
        _match_targets(db, asked)
    for entry in entries:
        if entry.target is None:
            entry.result = not_found("Application")


def _make_applications(db: Session, entries: Sequence[_Entry]) -> None:
    for entry in entries:
        asked = entry.incoming.new_application
        assert asked is not None
        values = {
            "organisation_id": entry.incoming.organisation_id,
            "id": new_id(),
            "uid": asked.uid,
            "name": asked.name,
            "throttle_rate": asked.throttle_rate,
            "metadata": asked.metadata,
        }
        db.execute(queries.insert_application(), values)


def _match_targets(db: Session, entries: Sequence[_Entry]) -> None:
    """By id, or by uid; by uid also where a name looks like an id and is none."""
    by_id, by_uid = set[tuple[UUID, UUID]](), set[tuple[UUID, str]]()
    for entry in entries:
        owner = entry.incoming.organisation_id
        for ref in _refs(entry.incoming):
            if application_id := _application_id(ref):
                by_id.add((owner, application_id))
            else:
                by_uid.add((owner, ref))
    _resolve(entries, _read_targets(db, by_id, by_uid))
    lost = [entry for entry in entries if entry.target is None]
    unclear = {(one.incoming.organisation_id, ref) for one in lost for ref in _refs(one.incoming)} - by_uid
    if unclear:
        _resolve(lost, _read_targets(db, set(), unclear))


Found = Mapping[tuple[UUID, UUID | str | None], _Target]
"""Targets by organisation, and id or uid."""


def _resolve(entries: Iterable[_Entry], found: Found) -> None:
    for entry in entries:
        one = entry.incoming
        for ref in _refs(one):
            target = found.get((one.organisation_id, _application_id(ref) or ref)) or found.get(
                (one.organisation_id, ref)
            )
            if target and target.kind == one.kind:
                entry.target = target
                break


@lru_cache(4096)
def _application_id(ref: str) -> UUID | None:
    return ids.decode("app", ref)


def _read_targets(db: Session, by_id: Iterable[tuple[UUID, UUID]], by_uid: Iterable[tuple[UUID, str]]) -> Found:
    found: dict[tuple[UUID, UUID | str | None], _Target] = {}
    parameters = transpose(list(by_id), *queries.BY_ID) | transpose(list(by_uid), *queries.BY_UID)
    for row in fetch(db, queries.targets(), parameters):
        owner, application_id, uid, kind, _, endpoint_id, event_types, channels, flags, delay, is_limited, has_gate = (
            row
        )
        target = found.get((owner, application_id))
        if target is None:
            found[owner, application_id] = found[owner, uid] = target = _Target(owner, application_id, kind)
        if endpoint_id is not None:
            # Once, also where one message of the batch names the application by its id and another by its uid.
            subscription = _subscription(event_types, channels, flags)
            target.endpoints[endpoint_id] = _Endpoint(
                endpoint_id, subscription, delay, is_limited, is_limited or has_gate
            )
            target.has_flags = target.has_flags or flags is not None
    return found


def _subscription(*filters: Sequence[str] | None) -> Subscription:
    if filters == (None, None, None):
        return _EVERYTHING
    event_types, channels, flags = (None if one is None else frozenset(one) for one in filters)
    return Subscription(event_types, channels, feature_flags=flags)


def _refs(incoming: Incoming) -> tuple[str, ...]:
    asked = incoming.new_application
    return (incoming.application,) if asked is None else (incoming.application, asked.uid)


def _explain(db: Session, organisations: list[UUID], refused: Sequence[tuple[_Entry, bool]]) -> None:
    """Says what refused messages that were not stored: an event id that is taken, or a key that is held."""
    named = [entry for entry, is_for_event_id in refused if is_for_event_id]
    for entry in named:
        entry.result = conflict("A message with this eventId exists in the application")
    # This transaction took them, for requests that are refused after all.
    keys = [(one.incoming.organisation_id, one.incoming.once.key) for one in named if one.incoming.once]
    if keys:
        db.execute(queries.release_idempotency_keys(), transpose(keys, "organisation_id", "key"))
    repeated = {_once(entry.incoming).key: entry for entry, is_for_event_id in refused if not is_for_event_id}
    if repeated:
        rows = db.execute(queries.idempotency_keys(), {"organisations": organisations, "keys": list(repeated)})
        known = {key: _Held(*held) for key, *held in rows}
        for key, entry in repeated.items():
            # It is there: whoever finds a key taken holds its lock until the commit.
            entry.held = known[key]
            entry.result = _replay(entry.incoming, entry.held)


def _once(incoming: Incoming) -> Once:
    assert incoming.once is not None
    return incoming.once


def _answer(incoming: Incoming) -> _Held:
    once = _once(incoming)
    return _Held(once.body_digest, once.status, incoming.response)


def _replay(incoming: Incoming, held: _Held) -> Result:
    if _once(incoming).body_digest != held.body_digest:
        return conflict("The idempotency key was used with another body; take a new key", "idempotency_conflict")
    return Replayed(held.status, held.response)


def _target(entry: _Entry) -> _Target:
    assert entry.target is not None
    return entry.target


def _fan_out(db: Session, organisations: list[UUID], entries: Sequence[_Entry]) -> None:
    flags = _flags(db, organisations, entries)
    for entry in entries:
        one = entry.incoming
        endpoints = _target(entry).endpoints
        if one.endpoint_id is not None:
            entry.owed = [endpoints[one.endpoint_id]] if one.endpoint_id in endpoints else []
            continue
        channels = frozenset(one.channels or ())
        open_to = flags.get((one.organisation_id, one.event_type), _NONE) if flags else _NONE
        entry.owed = [
            endpoint
            for endpoint in endpoints.values()
            if matches(endpoint.subscription, one.event_type, channels, open_to)
        ]


Flags = Mapping[tuple[UUID, str], frozenset[str]]


def _flags(db: Session, organisations: list[UUID], entries: Sequence[_Entry]) -> Flags:
    if not any(_target(entry).has_flags for entry in entries):
        return {}
    names = list({entry.incoming.event_type for entry in entries})
    rows = db.execute(queries.event_type_flags(), {"organisations": organisations, "names": names})
    return {(row.organisation_id, row.name): frozenset(row.feature_flags) for row in rows}


def _store(db: Session, entries: Sequence[_Entry]) -> list[tuple[_Entry, bool]]:
    """Returns those that were refused, and whether it was for their event id."""
    if not entries:
        return []
    created = [ids.timestamp(entry.incoming.message_id) for entry in entries]
    ensure_partitions(
        db, {moment.date() for moment in created}, {entry.incoming.expires_at.date() for entry in entries}
    )
    gated = _gated(db, entries)
    messages = [
        _message_row(entry, place, moment) for place, (entry, moment) in enumerate(zip(entries, created, strict=True))
    ]
    owed = [
        (place, one.id, _HELD if one.waits and one.id in gated else _READY, one.first_delay)
        for place, entry in enumerate(entries)
        for one in entry.owed
    ]
    refused = fetch(db, queries.store(), transpose(messages, *queries.MESSAGE) | transpose(owed, *queries.OWED))
    if owed:
        ask(db, Wake.delivery)
    return [(entries[row.place], row.is_for_event_id) for row in refused]


def _message_row(entry: _Entry, place: int, created_at: datetime) -> tuple[Any, ...]:
    one = entry.incoming
    return (
        place,
        one.organisation_id,
        one.message_id,
        _target(entry).id,
        one.event_type,
        one.event_id,
        _json(one.channels),
        _json(one.tags),
        one.deliver_at,
        created_at,
        one.expires_at,
        "{" + ",".join([endpoint.id.hex for endpoint in entry.owed]) + "}",
        one.content_type,
        one.body,
        *(_NO_KEY if one.once is None else (one.once.key, one.once.body_digest, one.once.status, one.response)),
    )


def _json(values: tuple[str, ...] | None) -> str | None:
    return None if values is None else json.dumps(values)


def _gated(db: Session, entries: Sequence[_Entry]) -> set[UUID]:
    """The endpoints whose deliveries wait behind a gate: those that are congested, and those with a rate."""
    behind = {
        one.id: (_target(entry).organisation_id, one.id, _target(entry).id, one.is_limited)
        for entry in entries
        for one in entry.owed
        if one.waits
    }
    limited = [row[:3] for row in behind.values() if row[3]]
    if limited:
        db.execute(queries.open_gates(), transpose(limited, "organisation_id", "endpoint_id", "application_id"))
    if not behind:
        return set()
    organisations = list({row[0] for row in behind.values()})
    return set(db.scalars(queries.gates(), {"organisations": organisations, "endpoints": list(behind)}))


def ensure_partitions(db: Session, days: Iterable[date], expiries: Iterable[date] = ()) -> None:
    """Makes what is missing of the partitions of messages, deliveries and attempts for `days`, of payloads for others.

    What is known to be there is not asked for again, until `forget_partitions`.
    """
    known = _known_partitions.setdefault(db.get_bind().engine, set())
    wanted = {("day", one) for one in days} | {("expiry", one) for one in expiries}
    missing = wanted - known
    if missing:
        asked = {kind: [day for one, day in missing if one == kind] for kind in ("day", "expiry")}
        db.execute(queries.ensure_partitions(), {"days": asked["day"], "expiries": asked["expiry"]})
        _after_commit(db, lambda: known.update(missing))


def forget_partitions() -> None:
    """Lets every partition be asked for again: where a transaction failed, one that was known may be gone."""
    _known_partitions.clear()


def _after_commit(db: Session, act: Callable[[], None]) -> None:
    event.listen(db, "after_commit", lambda _session: act(), once=True)


def too_many(detail: str, retry_after: float) -> Problem:
    """The queue is full; nothing was stored."""
    return Problem(Kind.too_many, "limit_reached", detail, retry_after=retry_after)
