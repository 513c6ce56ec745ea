"""Gates: each stands before the deliveries of one endpoint and lane that were held back."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.features.deliveries import claim_queries as queries
from app.kit.arrays import transpose
from app.kit.direct import fetch
from worker.delivery.job import EndpointKey

AT_ONCE = 64


class Gate(NamedTuple):
    """The key of a gate."""

    environment_id: UUID
    endpoint_id: UUID
    lane: int


def gate_of(row: Any) -> Gate:  # noqa: ANN401 a row of a gate, or of a delivery behind it
    """The gate that a row is of, or waits behind."""
    return Gate(row.environment_id, row.endpoint_id, row.lane)


def to_look_at(db: Session, lanes: Sequence[int], asked: Collection[EndpointKey]) -> Sequence[Any]:
    """The gates of endpoints of which one in these lanes may be looked at, and of those asked for, by lane."""
    parameters = transpose(sorted(asked), *queries.ENDPOINT_KEY)
    return fetch(db, queries.gates(), {**parameters, "lanes": lanes, "most": AT_ONCE})


def read_held(db: Session, wanted: Iterable[tuple[Gate, int]]) -> Mapping[Gate, list[Any]]:
    """The oldest deliveries behind gates, so many of each, locked."""
    asked = [(gate.endpoint_id, gate.lane, most) for gate, most in wanted if most]
    found: dict[Gate, list[Any]] = defaultdict(list)
    for row in db.execute(queries.held(), transpose(asked, "endpoint_id", "lane", "most")) if asked else ():
        found[gate_of(row)].append(row)
    return found


def move(db: Session, applications: Mapping[Gate, UUID], next_at: Callable[[UUID], datetime]) -> None:
    """Makes gates, or sets when they are looked at next."""
    if applications:
        rows = [(*gate, owner, next_at(gate.endpoint_id)) for gate, owner in applications.items()]
        db.execute(queries.set_gates(), transpose(rows, *queries.GATE_KEY, "application_id", "next_at"))


def remove(db: Session, gates: Collection[Gate]) -> set[Gate]:
    """Removes those of the gates that nothing waits behind, and that no ingest relies on; returns them.

    The lock comes first and in a statement of its own: once we hold it, whatever an ingest has put behind a gate
    is committed and seen, and the next ingest passes the gate by.
    """
    if not gates:
        return set()
    ours = [Gate(*row) for row in db.execute(queries.lock_gates(), transpose(sorted(gates), *queries.GATE_KEY))]
    gone = db.execute(queries.remove_gates(), transpose(ours, *queries.GATE_KEY)) if ours else ()
    return {Gate(*row) for row in gone}
