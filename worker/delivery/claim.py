"""Takes deliveries that are due under a lease, as many as caps, rates, breakers and fair shares permit."""

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.admission import RECHECK, Admission, Facts
from app.domain.breaker import Health
from app.features.deliveries import claim_queries as queries
from app.features.deliveries import operations
from app.kit.arrays import transpose
from app.kit.direct import fetch
from app.kit.encryption import KeyRing
from app.models import ApplicationKind, DueState, Trigger
from worker.delivery import gates
from worker.delivery.destinations import Destinations
from worker.delivery.gates import Gate, gate_of
from worker.delivery.job import Destination, DueKey, EndpointKey, Job

# While a lane's oldest rows must all wait, so many more are looked at, so often, for some that may go.
ROUNDS = 4
ROUND_ROWS = 2048


@dataclass(slots=True)
class Demand:
    """What the engine asks of a claim: room in each lane, what organisations have in flight here, gates to look at.

    A lane that `room` does not name is another pool's.
    """

    room: Mapping[int, int]
    share: int
    in_flight: Mapping[UUID, int]
    endpoints: Collection[EndpointKey] = ()


@dataclass(slots=True)
class Claimed:
    """The jobs, which of the asked endpoints must be asked for again, and whether there is more to claim at once.

    Where it is `crowded`, deliveries wait for the end of others. Of those that nothing held back `pickups` says by lane
    how long they were due (seconds); `expired` ones were claimed before, and `held` ones are held back from now on.
    """

    jobs: list[Job] = field(default_factory=list)
    busy: set[EndpointKey] = field(default_factory=set)
    more: bool = False
    crowded: bool = False
    pickups: list[tuple[int, float]] = field(default_factory=list)
    expired: int = 0
    held: int = 0


@dataclass(slots=True)
class _Turn:
    """A claim under way: the room that is left, what organisations have in flight here by now, what was taken.

    `lanes` are ours, `depth` is how many rows of which of them are read next; `facts` are those of all endpoints so
    far, `payloads` those of what was taken.
    """

    db: Session
    lanes: Collection[int]
    room: dict[int, int]
    depth: dict[int, int]
    share: int
    used: Counter[UUID]
    asked: frozenset[EndpointKey]
    began: float = field(default_factory=time.monotonic)
    taken: list[Any] = field(default_factory=list)
    facts: dict[UUID, Any] = field(default_factory=dict)
    payloads: dict[UUID, Any] = field(default_factory=dict)
    busy: set[EndpointKey] = field(default_factory=set)
    more: bool = False
    crowded: bool = False
    held: int = 0


class Claimer:
    """Claims for one process."""

    def __init__(self, ring: KeyRing, *, cap: int, lease: timedelta, calm_seconds: float = 0.0) -> None:
        self._cap = cap
        self._lease = lease
        self._destinations = Destinations(ring)
        # Where no gate was found there is rarely one a moment later; every look costs as much as a claim of ten.
        self._calm_seconds = calm_seconds
        self._calm_until = 0.0

    def claim(self, db: Session, demand: Demand) -> Claimed:
        """Leases what may go now. The jobs are ours when the transaction commits."""
        room = {lane: free for lane, free in demand.room.items() if free}
        if not room:
            return Claimed(busy=set(demand.endpoints), crowded=True)
        lanes = demand.room.keys()
        turn = _Turn(db, lanes, room, dict(room), demand.share, Counter(demand.in_flight), frozenset(demand.endpoints))
        looked = self._look(turn)
        turn.more = len({one.endpoint_id for one in looked}) >= gates.AT_ONCE
        turn.crowded = bool(looked)
        self._round(turn, looked)
        for _ in range(ROUNDS):
            if turn.depth:
                self._round(turn)
        crowded = turn.crowded or not all(turn.room.values())
        return Claimed(
            self._jobs(turn),
            turn.busy,
            turn.more or bool(turn.depth),
            crowded,
            pickups=[(row.lane, row.late) for row in turn.taken if row.state == DueState.ready],
            expired=sum(row.state == DueState.sending for row in turn.taken),
            held=turn.held,
        )

    def _look(self, turn: _Turn) -> Sequence[Any]:
        """The gates to look at; none while it is calm, when whoever asked must ask again."""
        if time.monotonic() < self._calm_until:
            turn.busy |= turn.asked
            return ()
        looked = gates.to_look_at(turn.db, list(turn.room), turn.asked)
        if not looked:
            self._calm_until = time.monotonic() + self._calm_seconds
        return looked

    def _round(self, turn: _Turn, looked: Sequence[Any] = ()) -> None:
        rows = _ready(turn)
        if not rows and not looked:
            turn.depth = {}
            return
        ours = _lock(turn, rows, looked)
        facts = _open_facts(turn.db, ours)
        closed = {pair for pair in ours if pair[1] not in facts}
        self._close(turn.db, closed, looked)
        excess = self._grant(turn, rows, looked, facts) if facts else []
        ended = [row for row in rows if (row.environment_id, row.endpoint_id) in closed]
        turn.depth = _next_depth(turn, rows, (*excess, *ended))

    def _close(self, db: Session, endpoints: Collection[EndpointKey], looked: Iterable[Any]) -> None:
        """Ends what is owed to endpoints that were disabled or deleted after it was owed, and their gates."""
        for environment_id, endpoint_id in endpoints:
            operations.cancel(db, environment_id, endpoint_id=endpoint_id, reason="endpoint closed")
        gates.remove(db, [gate for gate in map(gate_of, looked) if gate[:2] in endpoints])

    def _grant(
        self, turn: _Turn, rows: Sequence[Any], looked: Sequence[Any], facts: Mapping[UUID, Any]
    ) -> Sequence[Any]:
        """Takes what may go, holds what must wait; returns the latter."""
        admission = _admission(turn, facts, self._cap)
        opened = [one for one in looked if one.endpoint_id in facts]
        emptied, waiting, served = self._serve(turn, [one for one in opened if one.lane in turn.lanes], admission)
        granted, excess = _split(turn, [row for row in rows if row.endpoint_id in facts], admission)
        self._take(turn, served + granted)
        _hold(turn.db, excess)
        turn.held += len(excess)
        waiting |= {gate_of(row): row.application_id for row in excess}
        if waiting:
            self._calm_until = 0.0
            turn.crowded = True
        gates.move(turn.db, waiting, lambda one: admission.next_look(one, self._lease))
        _hand_over(turn, [one for one in opened if one.lane not in turn.lanes], admission)
        _remove_emptied(turn.db, {gate: owner for gate, owner in emptied.items() if gate not in waiting}, admission.now)
        _store_rates(turn.db, admission, facts)
        turn.taken += served + granted
        turn.facts |= facts
        return excess

    def _serve(
        self, turn: _Turn, looked: Sequence[Any], admission: Admission[UUID]
    ) -> tuple[dict[Gate, UUID], dict[Gate, UUID], list[Any]]:
        """The gates that were emptied, those with more behind them, and what may go from there."""
        owners = {gate_of(one): one.application_id for one in looked}
        wanted = self._wanted(turn, owners, admission)
        found = gates.read_held(turn.db, wanted.items())
        emptied: dict[Gate, UUID] = {}
        waiting: dict[Gate, UUID] = {}
        served: list[Any] = []
        for gate, most in wanted.items():
            rows = found[gate]
            count = admission.grant(gate.endpoint_id, gate.lane, len(rows))
            served += rows[:count]
            turn.room[gate.lane] -= count
            (emptied if count == len(rows) < most else waiting)[gate] = owners[gate]
        return emptied, waiting, served

    def _wanted(self, turn: _Turn, looked: Iterable[Gate], admission: Admission[UUID]) -> dict[Gate, int]:
        """How many deliveries could go from behind each gate that there is room to look behind."""
        # Half of the room at most, so that what waits behind gates never keeps the others out.
        room = {lane: max(1, free // 2) for lane, free in turn.room.items()}
        wanted = {}
        for gate in looked:
            if free := room.get(gate.lane, 0):
                wanted[gate] = admission.room(gate.endpoint_id, gate.lane, min(free, self._cap))
                room[gate.lane] = free - wanted[gate]
            else:
                turn.busy |= {gate[:2]} & turn.asked
                turn.more |= gate.lane in room
        return wanted

    def _take(self, turn: _Turn, rows: Iterable[Any]) -> None:
        days = defaultdict(list)
        for row in rows:
            days[row.expires_on].append(row.tid)
        for day, tids in days.items():
            found = fetch(turn.db, queries.take(), {"tids": tids, "lease": self._lease, "day": day})
            turn.payloads.update({row.message_id: row for row in found})

    def _jobs(self, turn: _Turn) -> list[Job]:
        rows, facts, payloads = turn.taken, turn.facts, turn.payloads
        destinations = self._destinations.find(turn.db, {row.endpoint_id: facts[row.endpoint_id] for row in rows})
        clock = turn.began, time.monotonic()
        gone = [row for row in rows if row.message_id not in payloads]
        for environment_id, message_id in {(row.environment_id, row.message_id) for row in gone}:
            operations.cancel(turn.db, environment_id, message_id=message_id, reason="payload gone")
        return [
            _job(row, destinations[row.endpoint_id], payloads[row.message_id], facts[row.endpoint_id], clock)
            for row in rows
            if row.message_id in payloads
        ]


def _ready(turn: _Turn) -> Sequence[Any]:
    if not turn.depth:
        return ()
    return fetch(turn.db, queries.ready(), transpose(list(turn.depth.items()), "lane", "most"))


def _next_depth(turn: _Turn, rows: Iterable[Any], moved: Iterable[Any]) -> dict[int, int]:
    """Lanes in which more rows may be due, of which some were moved out of the way, and in which there is room."""
    read, away = Counter(row.lane for row in rows), Counter(row.lane for row in moved)
    return {
        lane: ROUND_ROWS for lane, most in turn.depth.items() if read[lane] == most and away[lane] and turn.room[lane]
    }


def _lock(turn: _Turn, rows: Iterable[Any], looked: Iterable[Any]) -> list[EndpointKey]:
    """The endpoints of due rows and gates, without those that another claim counts at this moment."""
    owners = {row.endpoint_id: row.environment_id for row in rows}
    ours = {row.endpoint_id for row in rows if row.is_ours}
    behind = {one.endpoint_id: one.environment_id for one in looked if one.endpoint_id not in owners}
    if behind:
        parameters = transpose([(one,) for one in sorted(behind)], "endpoint_id")
        ours.update(turn.db.scalars(queries.lock_endpoints(), parameters))
        owners |= behind
    if passed := owners.keys() - ours:
        turn.busy |= {(owners[one], one) for one in passed} & turn.asked
        turn.more = True
    return [(owners[one], one) for one in sorted(ours)]


def _open_facts(db: Session, endpoints: Sequence[EndpointKey]) -> dict[UUID, Any]:
    """What is known of those of the endpoints that are neither disabled nor deleted."""
    rows = fetch(db, queries.facts(), transpose(endpoints, *queries.ENDPOINT_KEY))
    return {row.id: row for row in rows if not row.is_closed}


def _admission(turn: _Turn, facts: Mapping[UUID, Any], cap: int) -> Admission[UUID]:
    owners = _owners(turn.db, facts)
    now: datetime = next(iter(facts.values())).now
    known: dict[UUID, Facts[UUID]] = {one: _known(row, owners) for one, row in facts.items()}
    return Admission(known, now, cap, turn.share, turn.used)


def _owners(db: Session, facts: Mapping[UUID, Any]) -> dict[UUID, datetime | None]:
    """The rates of the applications that have one, locked; one that another claim uses is absent."""
    limited = sorted({(row.environment_id, row.application_id) for row in facts.values() if row.owner_rate})
    if not limited:
        return {}
    parameters = transpose(limited, "environment_id", "application_id")
    db.execute(queries.make_owner_rates(), parameters)
    return {row.application_id: row.rate_tat for row in db.execute(queries.lock_owners(), parameters)}


def _known(row: Any, owners: Mapping[UUID, datetime | None]) -> Facts[UUID]:  # noqa: ANN401 a row of queries.facts
    is_locked = row.owner_rate is None or row.application_id in owners
    return Facts(
        tenant=row.environment_id,
        owner=row.application_id,
        in_flight=row.in_flight,
        health=_health(row) if is_locked else Health(slow_until=row.now + RECHECK),
        rate=row.throttle_rate,
        rate_tat=row.rate_tat,
        owner_rate=row.owner_rate,
        owner_tat=owners.get(row.application_id),
        stopped=row.is_stopped,
    )


def _health(row: Any) -> Health:  # noqa: ANN401 a row of queries.facts
    if row.consecutive_failures is None:
        return Health()
    return Health(**{name: getattr(row, name) for name in queries.HEALTH})


def _split(turn: _Turn, rows: Iterable[Any], admission: Admission[UUID]) -> tuple[list[Any], list[Any]]:
    """The rows that may go, oldest first for each endpoint and lane, and those that must wait.

    What there is no room for in this process is neither.
    """
    groups: dict[tuple[UUID, int, int], list[Any]] = defaultdict(list)
    for row in rows:
        groups[row.endpoint_id, row.lane, row.trigger].append(row)
    granted, excess = [], []
    # What a person asked for goes first, also to an endpoint whose breaker is open.
    for (endpoint_id, lane, trigger), group in sorted(groups.items(), key=lambda item: -item[0][2]):
        wanted = min(len(group), turn.room[lane])
        by_hand = trigger == Trigger.manual
        count = admission.grant_by_hand(endpoint_id, wanted) if by_hand else admission.grant(endpoint_id, lane, wanted)
        turn.room[lane] -= count
        granted += group[:count]
        excess += group[count:] if count < wanted else []
    return granted, excess


def _hand_over(turn: _Turn, looked: Iterable[Any], admission: Admission[UUID]) -> None:
    """Has gates of lanes that are not ours looked at soon where something may go: no other pool hears of what ended."""
    open_ones = [one for one in looked if one.next_at > admission.now and admission.room(one.endpoint_id, one.lane, 1)]
    gates.move(turn.db, {gate_of(one): one.application_id for one in open_ones}, lambda _: admission.now)


def _hold(db: Session, rows: Sequence[Any]) -> None:
    if rows:
        db.execute(queries.hold(), {"tids": [row.tid for row in rows]})


def _remove_emptied(db: Session, emptied: Mapping[Gate, UUID], now: datetime) -> None:
    gone = gates.remove(db, emptied.keys())
    # What an ingest puts behind a gate just now is to be found as soon as it says that something is due.
    gates.move(db, {gate: owner for gate, owner in emptied.items() if gate not in gone}, lambda _: now)


def _store_rates(db: Session, admission: Admission[UUID], facts: Mapping[UUID, Any]) -> None:
    tenants = {row.application_id: row.environment_id for row in facts.values()}
    if admission.tats:
        rows = [(facts[one].environment_id, one, tat) for one, tat in admission.tats.items()]
        db.execute(queries.set_rates(), transpose(rows, *queries.ENDPOINT_KEY, "rate_tat"))
    if admission.owner_tats:
        rows = [(tenants[one], one, tat) for one, tat in admission.owner_tats.items()]
        db.execute(queries.set_owner_rates(), transpose(rows, "environment_id", "application_id", "rate_tat"))


def _key(row: Any) -> DueKey:  # noqa: ANN401 a due row
    return DueKey(row.environment_id, row.endpoint_id, row.message_id, row.trigger)


def _job(row: Any, destination: Destination, payload: Any, facts: Any, clock: tuple[float, float]) -> Job:  # noqa: ANN401 rows
    began, taken = clock
    return Job(
        key=_key(row),
        application_id=row.application_id,
        lane=row.lane,
        attempt=row.attempt + 1,
        failures=row.failures,
        event_type=row.event_type,
        destination=destination,
        content_type=payload.content_type,
        body=payload.body,
        traceparent=payload.traceparent,
        request_id=payload.request_id,
        is_unwell=bool(facts.consecutive_failures or facts.open_until or facts.slow_until),
        was_held=row.state == DueState.held,
        is_operational=facts.kind == ApplicationKind.operational,
        late=row.late,
        claimed_at=facts.now,
        taken=taken,
        began=began,
    )
