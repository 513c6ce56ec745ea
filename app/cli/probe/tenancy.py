"""The probe's own organisation, and a key to it that lives as long as one run."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from app.cli.audit import note
from app.cli.keys import key_environment
from app.cli.operator import transaction
from app.cli.probe.undoing import undone
from app.domain.permissions import Permission
from app.domain.probe import PROBE
from app.features.audit.targets import key_target, organisation_target
from app.features.organisations import operations
from app.features.organisations.operations import NewKey
from app.kit.clock import utc_now

LONGEST = timedelta(hours=1)
"""After which a key ends by itself, if its run was killed, and what that run left belongs to nobody."""
_NAME = "Probe"
_SCOPES = (
    Permission.application_read,
    Permission.application_write,
    Permission.endpoint_read,
    Permission.endpoint_write,
    Permission.endpoint_secret_read,
    Permission.message_send,
)


@contextmanager
def lent_key() -> Iterator[str]:
    """A key of the probe's organisation, which is made if it is not there; the key is revoked in the end."""
    with transaction() as db:
        if operations.ensure_organisation(db, PROBE, _NAME):
            note(db, PROBE, "organisation.created", organisation_target(PROBE, _NAME))
        new = NewKey(_NAME, key_environment(), scopes=_SCOPES, expires_at=utc_now() + LONGEST)
        key, text = operations.create_key(db, PROBE, new)
        note(db, PROBE, "key.created", key_target(key), role=new.role, environment=new.environment)
        key_id, target = key.id, key_target(key)

    def revoke() -> None:
        with transaction() as db:
            if operations.revoke_key(db, PROBE, key_id):
                note(db, PROBE, "key.revoked", target)

    with undone(revoke):
        yield text
