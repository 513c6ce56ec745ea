"""What both processes, and both kinds of endpoint, do to endpoints. The caller's transaction is used throughout."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypedDict, cast
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.domain import signing
from app.domain.addresses import BadUrl
from app.domain.destinations import Destinations
from app.domain.headers import BadHeader, check_headers, is_sensitive
from app.domain.ids import decode, encode
from app.features.deliveries.operations import cancel
from app.features.endpoints import queries, sealing
from app.features.endpoints.errors import (
    bad_header,
    too_many_secrets,
    uid_taken,
    uid_taken_meanwhile,
    unknown_event_types,
)
from app.features.operational_webhooks.operations import emit
from app.kit.clock import new_id
from app.kit.encryption import KeyRing
from app.kit.errors import invalid, not_found
from app.kit.wire import is_name
from app.models import Application, ApplicationKind, Endpoint

MAX_RETIRED_SECRETS = 10
GENERATED_BYTES = 24
SEED_BYTES = 32
DISABLED = "endpoint disabled"
DELETED = "endpoint deleted"


class Changes(TypedDict, total=False):
    """Columns of an endpoint that a caller sets; what is left out stays as it is."""

    url: str
    uid: str | None
    description: str
    version: int
    disabled: bool
    event_types: list[str] | None
    channels: list[str] | None
    feature_flags: list[str] | None
    metadata_: dict[str, str]
    throttle_rate: int | None
    retry_schedule: list[int] | None
    header_style: str
    ca_pem: str | None


def only(changes: Changes, names: Collection[str]) -> Changes:
    """Those of the changes whose columns are named."""
    kept = {name: value for name, value in changes.items() if name.removesuffix("_") in names}
    return cast("Changes", kept)


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to be made. Without `secret` one is generated."""

    changes: Changes
    secret: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ShownHeaders:
    """Custom headers as they may be shown, and the names of those whose values may not."""

    headers: dict[str, str]
    sensitive: list[str]


def find(db: Session, application: Application, reference: str, *, lock: bool = False) -> Endpoint:
    """The application's endpoint of this id or uid. Raises `not_found`."""
    found = seek(db, application, reference, lock=lock)
    if found is None:
        raise not_found("Endpoint")
    return found


def seek(db: Session, application: Application, reference: str, *, lock: bool = False) -> Endpoint | None:
    """The application's endpoint of this id or uid, or None."""
    if not is_name(reference):
        return None
    statement = queries.find(application.environment_id, application.id, reference)
    return db.scalars(statement.with_for_update() if lock else statement).one_or_none()


def create(db: Session, ring: KeyRing, application: Application, new: NewEndpoint) -> Endpoint:
    """Makes an endpoint with its secret and tells the organisation. Raises `conflict` for a uid that is taken."""
    endpoint_id = new_id()
    secret = _read_secret(new.secret, "secret") if new.secret is not None else _generate()
    values = DEFAULTS | new.changes | _identity(application, endpoint_id)
    values["headers"] = _seal_headers(ring, application.environment_id, endpoint_id, new.headers)
    endpoint: Endpoint | None = db.scalars(queries.add(values)).one_or_none()
    if endpoint is None:
        raise uid_taken()
    _add_secret(db, ring, endpoint, secret)
    _announce(db, application, endpoint, "endpoint.created")
    return endpoint


def change(db: Session, application: Application, endpoint: Endpoint, changes: Changes) -> Endpoint:
    """Changes a locked endpoint. Disabling cancels what is pending, enabling forgets its failures."""
    was_disabled = endpoint.disabled
    values: dict[str, Any] = dict(changes)
    if "disabled" in changes:
        values["disabled_reason"] = None
    try:
        changed = _apply(db, endpoint, values)
    except IntegrityError as error:
        raise _clash(error, uid_taken) from error
    if changed.disabled and not was_disabled:
        cancel(db, endpoint.environment_id, endpoint_id=endpoint.id, reason=DISABLED)
    if was_disabled and not changed.disabled:
        db.execute(queries.forget_health(endpoint.environment_id, endpoint.id))
        db.execute(queries.open_gates(endpoint.environment_id, endpoint.id))
    _announce(db, application, changed, "endpoint.updated")
    return changed


def delete(db: Session, application: Application, endpoint: Endpoint) -> None:
    """Deletes a locked endpoint; what is pending is cancelled, its uid is free.

    Secrets and headers stay until it can no longer be restored.
    """
    deleted = _apply(db, endpoint, {"deleted_at": queries.now()})
    cancel(db, endpoint.environment_id, endpoint_id=endpoint.id, reason=DELETED)
    _announce(db, application, deleted, "endpoint.deleted")


def restore(db: Session, application: Application, reference: str, changes: Changes) -> Endpoint:
    """Brings back a deleted endpoint, by its id. What was cancelled stays so, and its failures are forgotten.

    Raises `not_found`, also when it is too late, and `conflict` when another endpoint has its uid by now.
    """
    owner = application.environment_id, application.id
    try:
        restored: Endpoint | None = db.scalars(queries.restore(*owner, reference, changes)).one_or_none()
    except IntegrityError as error:
        raise _clash(error, uid_taken_meanwhile) from error
    if restored is None:
        raise not_found("Deleted endpoint")
    db.execute(queries.forget_health(restored.environment_id, restored.id))
    _announce(db, application, restored, "endpoint.created")
    return restored


def secrets(db: Session, ring: KeyRing, endpoint: Endpoint) -> list[signing.Key]:
    """The signing keys in use, the current one first."""
    owner = endpoint.environment_id, endpoint.id
    rows = db.scalars(queries.live_secrets(*owner))
    return [signing.parse_secret(sealing.open_secret(ring, *owner, row.secret)) for row in rows]


def rotate(db: Session, ring: KeyRing, endpoint: Endpoint, key: str | None, grace: timedelta) -> signing.Key:
    """Gives a locked endpoint a new secret, without `key` a generated one of the same kind.

    The old one is good for the grace period. Raises `limit_reached`, or `invalid` for a key that is none.
    """
    db.execute(queries.drop_expired_secrets(endpoint.environment_id, endpoint.id))
    current, *retired = secrets(db, ring, endpoint)
    if len(retired) + bool(grace) > MAX_RETIRED_SECRETS:
        raise too_many_secrets(MAX_RETIRED_SECRETS)
    new = _read_secret(key, "key") if key is not None else _generate(like=current)
    db.execute(queries.retire_secret(endpoint.environment_id, endpoint.id, grace))
    _add_secret(db, ring, endpoint, new)
    _apply(db, endpoint, {})
    return new


def headers(ring: KeyRing, endpoint: Endpoint) -> dict[str, str]:
    """The custom headers with all their values, for sending."""
    return sealing.open_headers(ring, endpoint.environment_id, endpoint.id, endpoint.headers)


def shown_headers(ring: KeyRing, endpoint: Endpoint) -> ShownHeaders:
    """The custom headers without the values that are credentials."""
    every = headers(ring, endpoint)
    hidden = [name for name in every if is_sensitive(name)]
    return ShownHeaders({name: value for name, value in every.items() if name not in hidden}, hidden)


def set_headers(db: Session, ring: KeyRing, endpoint: Endpoint, new: Mapping[str, str]) -> Endpoint:
    """Replaces the custom headers. Raises `invalid`, naming the one that may not be set."""
    sealed = _seal_headers(ring, endpoint.environment_id, endpoint.id, new)
    return _apply(db, endpoint, {"headers": sealed})


def patch_headers(
    db: Session, ring: KeyRing, endpoint: Endpoint, given: Mapping[str, str | None], delete: Iterable[str] = ()
) -> Endpoint:
    """Sets some custom headers of a locked endpoint, and removes those that are null or in `delete`, in any case."""
    touched = {name.lower() for name in (*given, *delete)}
    kept = {name: value for name, value in headers(ring, endpoint).items() if name.lower() not in touched}
    return set_headers(db, ring, endpoint, kept | {name: value for name, value in given.items() if value is not None})


def require_destination(destinations: Destinations, changes: Changes) -> None:
    """Raises `invalid` when the changes set a URL that may not be called."""
    try:
        if "url" in changes:
            destinations.check(changes["url"])
    except BadUrl as refused:
        raise invalid("url", refused.reason, type_="url_refused") from None


def uid_for(reference: str) -> str:
    """The uid that a PUT of something unknown gives to what it makes. Raises `not_found` for an id."""
    if not is_name(reference) or decode(queries.ENDPOINT, reference) is not None:
        raise not_found("Endpoint")
    return reference


def require_event_types(
    db: Session, environment_id: UUID, names: Sequence[str] | None, *, flags: Iterable[str] | None, field: str
) -> None:
    """Raises `invalid` for event types that there are none of, or that a holder of `flags` may not know."""
    if not names:
        return
    statement = queries.known_event_types(environment_id, names, None if flags is None else sorted(flags))
    known = set(db.scalars(statement))
    if missing := [name for name in names if name not in known]:
        raise unknown_event_types(field, missing)


DEFAULTS: dict[str, Any] = {
    "uid": None,
    "description": "",
    "version": 1,
    "disabled": False,
    "event_types": None,
    "channels": None,
    "feature_flags": None,
    "metadata_": {},
    "throttle_rate": None,
    "retry_schedule": None,
    "header_style": "webhook",
    "ca_pem": None,
}


def _identity(application: Application, endpoint_id: UUID) -> dict[str, Any]:
    return {"environment_id": application.environment_id, "application_id": application.id, "id": endpoint_id}


def _apply(db: Session, endpoint: Endpoint, values: Mapping[str, Any]) -> Endpoint:
    changed: Endpoint = db.scalars(queries.change(endpoint.environment_id, endpoint.id, values)).one()
    return changed


def _clash(error: IntegrityError, taken: Callable[[], Exception]) -> Exception:
    return taken() if "uq_endpoints_uid" in str(error.orig) else error


def _announce(db: Session, application: Application, endpoint: Endpoint, event: str) -> None:
    """Tells the organisation, unless the endpoint is one that it is told through."""
    if application.kind == ApplicationKind.operational:
        return
    data = {
        "appId": encode("app", application.id),
        "appUid": application.uid,
        "endpointId": encode(queries.ENDPOINT, endpoint.id),
        "endpointUid": endpoint.uid,
    }
    emit(db, endpoint.environment_id, event, data)


def _add_secret(db: Session, ring: KeyRing, endpoint: Endpoint, key: signing.Key) -> None:
    owner = endpoint.environment_id, endpoint.id
    db.execute(queries.add_secret(*owner, new_id(), sealing.seal_secret(ring, *owner, key.text)))


def _generate(like: signing.Key | None = None) -> signing.Key:
    if isinstance(like, signing.AsymmetricKey):
        return signing.parse_secret(signing.generate_asymmetric(os.urandom(SEED_BYTES)))
    return signing.parse_secret(signing.generate_symmetric(os.urandom(GENERATED_BYTES)))


def _read_secret(text: str, name: str) -> signing.Key:
    try:
        return signing.parse_secret(text)
    except ValueError as error:
        raise invalid(name, str(error)) from None


def _seal_headers(ring: KeyRing, environment_id: UUID, endpoint_id: UUID, given: Mapping[str, str]) -> bytes | None:
    try:
        check_headers(given)
    except BadHeader as refused:
        raise bad_header(refused.name, refused.reason) from None
    return sealing.seal_headers(ring, environment_id, endpoint_id, given)
