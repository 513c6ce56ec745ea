"""The tenants of a bench: organisations with a key, an application and an endpoint each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from app.cli.bench.wire import Caller
from app.domain import ids
from app.features.applications import operations as applications
from app.features.endpoints import operations as endpoints
from app.features.organisations import operations as organisations
from app.kit.db import make_engine, make_sessions
from app.kit.encryption import KeyRing

ORGANISATIONS = 50


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organisation of the bench, and what it has one of."""

    organisation_id: UUID
    application_id: UUID
    endpoint_id: UUID
    key: str

    def caller(self) -> Caller:
        """What the wire knows of it."""
        return Caller(self.key, ids.encode("app", self.application_id))


def make_tenants(migrator_url: str, ring: KeyRing, receiver_url: str) -> list[Tenant]:
    """Makes the tenants, whose endpoints are all at the receiver."""
    engine = make_engine(migrator_url, pool_size=1, name="postrider-bench")
    try:
        with make_sessions(engine).begin() as db:
            return [_make_tenant(db, ring, f"{receiver_url}/{number}") for number in range(ORGANISATIONS)]
    finally:
        engine.dispose()


def _make_tenant(db: Session, ring: KeyRing, url: str) -> Tenant:
    organisation_id = organisations.create_organisation(db, "Bench")
    key = organisations.create_key(db, organisation_id, "bench", "test")
    application = applications.add(db, organisation_id, {"name": "Bench", "metadata_": {}})
    assert application is not None
    endpoint = endpoints.create(db, ring, application, endpoints.NewEndpoint({"url": url}))
    return Tenant(organisation_id, application.id, endpoint.id, key)


def write_tenants(path: Path, tenants: Sequence[Tenant]) -> None:
    """Writes them for the references, to be read by us alone."""
    path.touch(mode=0o600)
    path.write_text(json.dumps([asdict(one) for one in tenants], default=str))


def read_tenants(path: Path) -> list[Tenant]:
    """What `write_tenants` wrote."""
    rows = json.loads(path.read_text())
    return [
        Tenant(*(UUID(one[name]) for name in ("organisation_id", "application_id", "endpoint_id")), key=one["key"])
        for one in rows
    ]
