"""Remembers how to send to endpoints, until they change."""

from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.ids import encode
from app.domain.signing import parse_secret
from app.features.deliveries import claim_queries as queries
from app.features.endpoints.sealing import open_headers, open_secret
from app.kit.arrays import transpose
from app.kit.encryption import KeyRing, Undecryptable
from app.kit.telemetry.logs import get_logger
from worker.delivery.job import Destination

MOST = 20_000
logger = get_logger(__name__)


class Destinations:
    """What was read of endpoints, decrypted; for one process."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._known: OrderedDict[UUID, Destination] = OrderedDict()

    def find(self, db: Session, wanted: Mapping[UUID, Any]) -> Mapping[UUID, Destination]:
        """How to send to these endpoints; `wanted` are rows of queries.facts, which bear their revisions."""
        known = self._known
        missing = [
            (row.environment_id, one)
            for one, row in wanted.items()
            if one not in known or known[one].revision != row.revision
        ]
        if missing:
            self._read(db, missing)
        found = {one: known[one] for one in wanted}
        while len(known) > MOST:
            known.popitem(last=False)
        return found

    def _read(self, db: Session, missing: Sequence[tuple[UUID, UUID]]) -> None:
        parameters = transpose(missing, *queries.ENDPOINT_KEY)
        secrets = defaultdict(list)
        for row in db.execute(queries.secrets(), parameters):
            secrets[row.endpoint_id].append(row)
        for row in db.execute(queries.destinations(), parameters):
            self._known[row.id] = self._destination(row, secrets[row.id])

    def _destination(self, row: Any, secrets: Sequence[Any]) -> Destination:  # noqa: ANN401 rows of the statements above
        try:
            return self._open(row, secrets)
        except (Undecryptable, ValueError) as error:
            # One endpoint's lost key must not stop the others: its attempts fail, and say why.
            logger.error("endpoint_not_usable", endpoint_id=encode("ep", row.id), error=str(error))  # noqa: TRY400 the error says it all
            owner = row.organisation_id
            return Destination(row.revision, row.url, (), (), row.header_style, None, None, str(error), owner)

    def _open(self, row: Any, secrets: Sequence[Any]) -> Destination:  # noqa: ANN401 as above
        owner = (row.environment_id, row.id)
        keys = [(parse_secret(open_secret(self._ring, *owner, one.secret)), one.expires_at) for one in secrets]
        return Destination(
            revision=row.revision,
            url=row.url,
            headers=tuple(open_headers(self._ring, *owner, row.headers).items()),
            keys=tuple(keys),
            header_style=row.header_style,
            ca_pem=row.ca_pem and row.ca_pem.encode(),
            retry_schedule=row.retry_schedule and tuple(row.retry_schedule),
            organisation_id=row.organisation_id,
        )
