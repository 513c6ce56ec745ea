"""The one way in: a batch of messages with all that they owe becomes rows, in the caller's transaction."""

import json
from collections import defaultdict
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
from app.features.messages import ingest_queries as queries
from app.features.messages.ingest_queries import Outcome
from app.kit.array_text import texts as array_text
from app.kit.arrays import transpose
from app.kit.clock import new_id
from app.kit.direct import fetch
from app.kit.errors import Kind, Problem, conflict, not_found
from app.kit.wakes import Wake, ask
from app.models import ApplicationKind

_NO_KEY = (None, None, None, None)
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
    `response` is what the caller is answered, and again when it repeats the request under the same `once`. It counts
    for `organisation_id`, if for any. `traceparent` and `request_id` say what brought it: see `Payload`.
    """

    environment_id: UUID
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
    organisation_id: UUID | None = None
    traceparent: bytes | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message is stored and owed to `endpoints` endpoints; durable when the transaction commits."""

    message_id: UUID
    endpoints: int
    application_id: UUID | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The request was carried out before; this is what was answered then."""

    status: int
    response: bytes


Result = Accepted | Replayed | Problem


class _Held(NamedTuple):
    """What an idempotency key stands for: a digest of the request's body, and what was answered."""

    body_digest: bytes
    status: int
    response: bytes


@dataclass(slots=True)
class _Entry:
    """A message of the batch on its way: the id or uid that names its application, and what came of it.

    `held` is what its idempotency key stood for before; `twin` is the same request, earlier in the batch.
    """

    incoming: Incoming
    named_id: UUID | None
    named_uid: str | None
    result: Result | None = None
    held: _Held | None = None
    twin: "_Entry | None" = None


_Refused = dict[Outcome, list[_Entry]]


def accept(db: Session, batch: Sequence[Incoming]) -> list[Result]:
    """Stores the batch and what it owes; one result for each message, in order. A refused one harms no other.

    The transaction must see the organisations of all.
    """
    entries = [_entry(one) for one in batch]
    _find_or_make(db, [entry for entry in entries if entry.incoming.new_application])
    firsts = _without_twins(entries)
    refused = _store(db, firsts)
    # What looks like an id, and is none, may be a uid.
    unclear = [entry for entry in refused[Outcome.unknown] if entry.named_id]
    for entry in unclear:
        entry.named_id, entry.named_uid = None, entry.incoming.application
    _explain(db, refused)
    _explain(db, _store(db, unclear))
    return [_conclude(entry) for entry in entries]


def _entry(incoming: Incoming) -> _Entry:
    named_id = _application_id(incoming.application)
    return _Entry(incoming, named_id, incoming.application if named_id is None else None)


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
        assert entry.result is not None
        return entry.result
    if twin.held is None and isinstance(twin.result, Problem):
        return twin.result
    return _replay(entry.incoming, twin.held or _answer(twin.incoming))


def _find_or_make(db: Session, entries: Sequence[_Entry]) -> None:
    """Names the applications of messages that bring one by what there is, made now where there is none."""
    found = _find(db, entries)
    for entry in entries:
        if id(entry) not in found:
            _make_application(db, entry.incoming)
    if len(found) < len(entries):
        found = _find(db, entries)
    for entry in entries:
        if known := found.get(id(entry)):
            entry.named_id, entry.named_uid = known, None


def _find(db: Session, entries: Sequence[_Entry]) -> Mapping[int, UUID]:
    """The applications by their entries' identity: by name rather than by the uid that is asked for, by id first."""
    names = [(entry, name) for entry in entries for name in (entry.incoming.application, _asked(entry.incoming).uid)]
    rows = [
        (place, entry.incoming.environment_id, _application_id(name), name, entry.incoming.kind)
        for place, (entry, name) in enumerate(names)
    ]
    known = fetch(db, queries.named(), transpose(rows, *queries.NAMES)) if rows else []
    last_first = sorted(known, key=lambda row: (row.place, row.is_by_uid), reverse=True)
    return {id(names[row.place][0]): row.id for row in last_first}


def _make_application(db: Session, incoming: Incoming) -> None:
    asked = _asked(incoming)
    values = {
        "environment_id": incoming.environment_id,
        "id": new_id(),
        "uid": asked.uid,
        "name": asked.name,
        "throttle_rate": asked.throttle_rate,
        "metadata": asked.metadata,
    }
    db.execute(queries.insert_application(), values)


def _asked(incoming: Incoming) -> NewApplication:
    assert incoming.new_application is not None
    return incoming.new_application


@lru_cache(4096)
def _application_id(ref: str) -> UUID | None:
    return ids.decode("app", ref)


def _explain(db: Session, refused: _Refused) -> None:
    """Says what refused messages that were not stored."""
    for entry in refused[Outcome.unknown]:
        entry.result = not_found("Application")
    for entry in refused[Outcome.taken]:
        entry.result = conflict("A message with this eventId exists in the application")
    # This transaction took them, for requests that are refused after all.
    keys = [_key(entry) for entry in refused[Outcome.taken] if entry.incoming.once]
    if keys:
        db.execute(queries.release_idempotency_keys(), transpose(keys, "environment_id", "key"))
    if refused[Outcome.repeated]:
        _remind(db, refused[Outcome.repeated])


def _remind(db: Session, entries: Sequence[_Entry]) -> None:
    """Answers as those were answered whose keys these repeat."""
    keys = [_key(entry) for entry in entries]
    organisations = list({environment_id for environment_id, _ in keys})
    rows = db.execute(queries.idempotency_keys(), {"organisations": organisations, "keys": [key for _, key in keys]})
    known = {key: _Held(*held) for key, *held in rows}
    for entry, (_, key) in zip(entries, keys, strict=True):
        # It is there: whoever finds a key taken holds its lock until the commit.
        entry.held = known[key]
        entry.result = _replay(entry.incoming, entry.held)


def _key(entry: _Entry) -> tuple[UUID, bytes]:
    return entry.incoming.environment_id, _once(entry.incoming).key


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


def _store(db: Session, entries: Sequence[_Entry]) -> _Refused:
    """Returns those that were refused, by their outcome."""
    refused: _Refused = defaultdict(list)
    if not entries:
        return refused
    created = [ids.timestamp(entry.incoming.message_id) for entry in entries]
    ensure_partitions(
        db, {moment.date() for moment in created}, {entry.incoming.expires_at.date() for entry in entries}
    )
    rows = [_row(entry, place, moment) for place, (entry, moment) in enumerate(zip(entries, created, strict=True))]
    owed = 0
    for place, outcome, endpoints, application_id in fetch(db, queries.store(), transpose(rows, *queries.MESSAGE)):
        entry = entries[place]
        if outcome == Outcome.stored:
            entry.result = Accepted(entry.incoming.message_id, endpoints, application_id)
            owed += endpoints
        else:
            refused[outcome].append(entry)
    if owed:
        ask(db, Wake.delivery)
    return refused


def _row(entry: _Entry, place: int, created_at: datetime) -> tuple[Any, ...]:
    one = entry.incoming
    return (
        place,
        one.environment_id,
        entry.named_id,
        entry.named_uid,
        one.kind,
        one.message_id,
        one.event_type,
        one.event_id,
        None if one.channels is None else array_text(one.channels),
        None if one.tags is None else json.dumps(one.tags),
        one.deliver_at,
        created_at,
        one.expires_at,
        one.endpoint_id,
        one.content_type,
        one.body,
        one.traceparent,
        one.request_id,
        *(_NO_KEY if one.once is None else (one.once.key, one.once.body_digest, one.once.status, one.response)),
    )


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
