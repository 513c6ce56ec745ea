"""Takes deliveries that are due under a lease, as many as caps, rates, breakers and fair shares permit."""

import logging
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.admission import RECHECK, Admission, Facts
from app.domain.breaker import Health
from app.domain.signing import parse_secret
from app.features.deliveries import claim_queries as queries
from app.features.deliveries import operations
from app.features.endpoints.sealing import open_headers, open_secret
from app.kit.arrays import transpose
from app.kit.encryption import KeyRing, Undecryptable
from app.models import ApplicationKind, Trigger
from worker.delivery.job import Destination, DueKey, Job

GATES_AT_ONCE = 64
logger = logging.getLogger(__name__)
DESTINATIONS = 20_000


@dataclass(slots=True)
class Demand:
    """What the engine asks of a claim: room in each lane, what organisations have in flight here, gates to look at."""

    room: Mapping[int, int]
    share: int
    in_flight: Mapping[UUID, int]
    endpoints: Sequence[UUID] = ()


@dataclass(slots=True)
class Claimed:
    """The jobs, which lanes may have more, and which of the asked endpoints could not be looked at."""

    jobs: list[Job] = field(default_factory=list)
    full: set[int] = field(default_factory=set)
    busy: set[UUID] = field(default_factory=set)


class Claimer:
    """Claims for one process, and remembers how to send to endpoints until they change."""

    def __init__(self, ring: KeyRing, *, cap: int, lease: timedelta) -> None:
        self._ring = ring
        self._cap = cap
        self._lease = lease
        self._destinations: OrderedDict[UUID, Destination] = OrderedDict()

    def claim(self, db: Session, demand: Demand) -> Claimed:
        """Leases what may go now. The jobs are ours when the transaction commits."""
        claimed = Claimed()
        rows = [row for lane, room in demand.room.items() for row in self._ready(db, lane, room, claimed)]
        lanes = [lane for lane, room in demand.room.items() if room]
        gates = _gates(db, lanes, demand.endpoints)
        if rows or gates:
            self._admit(db, demand, rows, gates, claimed)
        return claimed

    def _ready(self, db: Session, lane: int, room: int, claimed: Claimed) -> Sequence[Any]:
        if not room:
            return ()
        rows = db.execute(queries.ready(), {"lane": lane, "most": room}).all()
        if len(rows) == room:
            claimed.full.add(lane)
        return rows

    def _admit(self, db: Session, demand: Demand, rows: Sequence[Any], gates: Sequence[Any], claimed: Claimed) -> None:
        owners = {one.endpoint_id: one.organisation_id for one in (*rows, *gates)}
        ours = set(db.scalars(queries.lock_endpoints(), transpose([(one,) for one in sorted(owners)], "endpoint_id")))
        claimed.busy = set(demand.endpoints) & (owners.keys() - ours)
        pairs = [(owners[one], one) for one in sorted(ours)]
        facts = {row.id: row for row in db.execute(queries.facts(), transpose(pairs, *queries.ENDPOINT_KEY))}
        open_ = {one: row for one, row in facts.items() if not row.is_closed}
        self._close(db, [(owners[one], one) for one in ours - open_.keys()])
        if open_:
            mine = [row for row in rows if row.endpoint_id in open_]
            looked = [gate for gate in gates if gate.endpoint_id in open_]
            self._grant(db, demand, mine, looked, open_, claimed)

    def _close(self, db: Session, endpoints: Iterable[tuple[UUID, UUID]]) -> None:
        """Ends what is owed to endpoints that were disabled or deleted after it was owed."""
        for organisation_id, endpoint_id in endpoints:
            operations.cancel(db, organisation_id, endpoint_id=endpoint_id, reason="endpoint closed")

    def _grant(
        self,
        db: Session,
        demand: Demand,
        rows: Sequence[Any],
        gates: Sequence[Any],
        facts: Mapping[UUID, Any],
        claimed: Claimed,
    ) -> None:
        now: datetime = next(iter(facts.values())).now
        admission = _admission(db, demand, facts, self._cap, now)
        taken = self._serve_gates(db, demand, gates, admission, claimed.busy)
        granted, excess = _split(rows, admission)
        taken += granted
        self._hold(db, excess, admission)
        self._take(db, taken)
        _store_rates(db, admission, facts)
        claimed.jobs = self._jobs(db, taken, facts, now)

    def _serve_gates(
        self, db: Session, demand: Demand, gates: Sequence[Any], admission: Admission[UUID], busy: set[UUID]
    ) -> list[Any]:
        # Half of the room at most, so that what waits behind gates never keeps the others out.
        room = {lane: max(1, free // 2) for lane, free in demand.room.items() if free}
        asked = []
        for gate in gates:
            if not room[gate.lane]:
                busy.add(gate.endpoint_id)
                continue
            granted = admission.grant(gate.endpoint_id, gate.lane, min(room[gate.lane], self._cap))
            room[gate.lane] -= granted
            asked.append((gate, granted))
        found = _held(db, [(gate.endpoint_id, gate.lane, granted) for gate, granted in asked if granted])
        self._settle(db, asked, found, admission)
        return found

    def _settle(
        self, db: Session, asked: Sequence[tuple[Any, int]], found: Sequence[Any], admission: Admission[UUID]
    ) -> None:
        """Moves the gates that have more behind them, removes those that were emptied."""
        counts = Counter((row.endpoint_id, row.lane) for row in found)
        kept, emptied = [], []
        for gate, granted in asked:
            key = (gate.organisation_id, gate.endpoint_id, gate.lane)
            if granted and counts[gate.endpoint_id, gate.lane] < granted:
                emptied.append(key)
            else:
                kept.append((*key, gate.application_id, admission.next_look(gate.endpoint_id, self._lease)))
        _set_gates(db, kept)
        if emptied:
            db.execute(queries.remove_gates(), transpose(emptied, *queries.GATE_KEY))

    def _hold(self, db: Session, excess: Sequence[Any], admission: Admission[UUID]) -> None:
        if not excess:
            return
        db.execute(queries.hold(), transpose([_key(row) for row in excess], *queries.DUE_KEY))
        lanes = {(row.organisation_id, row.endpoint_id, row.lane, row.application_id) for row in excess}
        _set_gates(db, [(*lane, admission.next_look(lane[1], self._lease)) for lane in lanes])

    def _take(self, db: Session, rows: Sequence[Any]) -> None:
        if rows:
            parameters = transpose([_key(row) for row in rows], *queries.DUE_KEY)
            db.execute(queries.take(), {**parameters, "lease": self._lease})

    def _jobs(self, db: Session, rows: Sequence[Any], facts: Mapping[UUID, Any], now: datetime) -> list[Job]:
        destinations = self._find_destinations(db, {row.endpoint_id: facts[row.endpoint_id] for row in rows})
        payloads = _payloads(db, rows)
        taken = time.monotonic()
        gone = [row for row in rows if row.message_id not in payloads]
        for organisation_id, message_id in {(row.organisation_id, row.message_id) for row in gone}:
            operations.cancel(db, organisation_id, message_id=message_id, reason="payload gone")
        return [
            _job(row, destinations[row.endpoint_id], payloads[row.message_id], facts[row.endpoint_id], now, taken)
            for row in rows
            if row.message_id in payloads
        ]

    def _find_destinations(self, db: Session, wanted: Mapping[UUID, Any]) -> Mapping[UUID, Destination]:
        known = self._destinations
        missing = [
            (row.organisation_id, one)
            for one, row in wanted.items()
            if one not in known or known[one].revision != row.revision
        ]
        if missing:
            self._read_destinations(db, missing)
        found = {one: known[one] for one in wanted}
        while len(known) > DESTINATIONS:
            known.popitem(last=False)
        return found

    def _read_destinations(self, db: Session, missing: Sequence[tuple[UUID, UUID]]) -> None:
        parameters = transpose(missing, *queries.ENDPOINT_KEY)
        secrets = defaultdict(list)
        for row in db.execute(queries.secrets(), parameters):
            secrets[row.endpoint_id].append(row)
        for row in db.execute(queries.destinations(), parameters):
            self._destinations[row.id] = self._destination(row, secrets[row.id])

    def _destination(self, row: Any, secrets: Sequence[Any]) -> Destination:  # noqa: ANN401 rows of the statements above
        try:
            return self._open(row, secrets)
        except (Undecryptable, ValueError) as error:
            # One endpoint's lost key must not stop the others: its attempts fail, and say why.
            logger.error("endpoint %s cannot be delivered to: %s", row.id, error)  # noqa: TRY400 the error says it all
            return Destination(row.revision, row.url, (), (), row.header_style, None, None, fault=str(error))

    def _open(self, row: Any, secrets: Sequence[Any]) -> Destination:  # noqa: ANN401 as above
        owner = (row.organisation_id, row.id)
        keys = [(parse_secret(open_secret(self._ring, *owner, one.secret)), one.expires_at) for one in secrets]
        return Destination(
            revision=row.revision,
            url=row.url,
            headers=tuple(open_headers(self._ring, *owner, row.headers).items()),
            keys=tuple(keys),
            header_style=row.header_style,
            ca_pem=row.ca_pem and row.ca_pem.encode(),
            retry_schedule=row.retry_schedule and tuple(row.retry_schedule),
        )


def _gates(db: Session, lanes: Sequence[int], endpoints: Sequence[UUID]) -> Sequence[Any]:
    parameters = {"lanes": lanes, "endpoints": list(endpoints), "most": GATES_AT_ONCE + len(endpoints)}
    return db.execute(queries.gates(), parameters).all() if lanes else ()


def _admission(db: Session, demand: Demand, facts: Mapping[UUID, Any], cap: int, now: datetime) -> Admission[UUID]:
    owners = _owners(db, facts)
    tenants = {row.organisation_id for row in facts.values()}
    shares: dict[UUID, int] = {one: max(0, demand.share - demand.in_flight.get(one, 0)) for one in tenants}
    known: dict[UUID, Facts[UUID]] = {one: _facts(row, owners) for one, row in facts.items()}
    return Admission(known, now, cap, shares)


def _owners(db: Session, facts: Mapping[UUID, Any]) -> dict[UUID, datetime | None]:
    """The rates of the applications that have one, locked; one that another claim uses is absent."""
    limited = sorted({(row.organisation_id, row.application_id) for row in facts.values() if row.owner_rate})
    if not limited:
        return {}
    parameters = transpose(limited, "organisation_id", "application_id")
    db.execute(queries.make_owner_rates(), parameters)
    return {row.application_id: row.rate_tat for row in db.execute(queries.lock_owners(), parameters)}


def _facts(row: Any, owners: Mapping[UUID, datetime | None]) -> Facts[UUID]:  # noqa: ANN401 a row of queries.facts
    is_locked = row.owner_rate is None or row.application_id in owners
    return Facts(
        tenant=row.organisation_id,
        owner=row.application_id,
        in_flight=row.in_flight,
        health=_health(row) if is_locked else Health(slow_until=row.now + RECHECK),
        rate=row.throttle_rate,
        rate_tat=row.rate_tat,
        owner_rate=row.owner_rate,
        owner_tat=owners.get(row.application_id),
    )


def _health(row: Any) -> Health:  # noqa: ANN401 a row of queries.facts
    if row.consecutive_failures is None:
        return Health()
    return Health(**{name: getattr(row, name) for name in queries.HEALTH})


def _split(rows: Sequence[Any], admission: Admission[UUID]) -> tuple[list[Any], list[Any]]:
    """The rows that may go, oldest first for each endpoint and lane, and those that must wait."""
    groups = defaultdict(list)
    for row in rows:
        if row.trigger == Trigger.scheduled:
            groups[row.endpoint_id, row.lane].append(row)
    # What a person asked for goes at once, also to an endpoint whose breaker is open.
    granted, excess = [row for row in rows if row.trigger == Trigger.manual], []
    for (endpoint_id, lane), group in groups.items():
        count = admission.grant(endpoint_id, lane, len(group))
        granted += group[:count]
        excess += group[count:]
    return granted, excess


def _held(db: Session, asked: Sequence[tuple[UUID, int, int]]) -> list[Any]:
    if not asked:
        return []
    return list(db.execute(queries.held(), transpose(asked, "endpoint_id", "lane", "most")).all())


def _set_gates(db: Session, gates: Sequence[tuple[Any, ...]]) -> None:
    if gates:
        names = (*queries.GATE_KEY, "application_id", "next_at")
        db.execute(queries.set_gates(), transpose(gates, *names))


def _store_rates(db: Session, admission: Admission[UUID], facts: Mapping[UUID, Any]) -> None:
    tenants = {row.application_id: row.organisation_id for row in facts.values()}
    if admission.tats:
        rows = [(facts[one].organisation_id, one, tat) for one, tat in admission.tats.items()]
        db.execute(queries.set_rates(), transpose(rows, *queries.ENDPOINT_KEY, "rate_tat"))
    if admission.owner_tats:
        rows = [(tenants[one], one, tat) for one, tat in admission.owner_tats.items()]
        db.execute(queries.set_owner_rates(), transpose(rows, "organisation_id", "application_id", "rate_tat"))


def _payloads(db: Session, rows: Sequence[Any]) -> dict[UUID, Any]:
    days = defaultdict(set)
    for row in rows:
        days[row.expires_on].add((row.organisation_id, row.message_id))
    found = {}
    for day, pairs in days.items():
        parameters = {**transpose(list(pairs), "organisation_id", "message_id"), "day": day}
        found.update({row.message_id: row for row in db.execute(queries.payloads(), parameters)})
    return found


def _key(row: Any) -> DueKey:  # noqa: ANN401 a due row
    return DueKey(row.organisation_id, row.endpoint_id, row.message_id, row.trigger)


def _job(row: Any, destination: Destination, payload: Any, facts: Any, now: datetime, taken: float) -> Job:  # noqa: ANN401 rows
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
        is_unwell=bool(facts.consecutive_failures or facts.open_until or facts.slow_until),
        is_operational=facts.kind == ApplicationKind.operational,
        claimed_at=now,
        taken=taken,
    )
