"""Statements that turn the key ring over what lies encrypted; as the operator's, they cross organisations."""

from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, Select, Update, and_, bindparam, func, select, update

from app.kit.db import table_of
from app.models import Endpoint, EndpointSecret

SECRETS = table_of(EndpointSecret)
ENDPOINTS = table_of(Endpoint)


def secrets_under_other_keys(header: bytes, most: int) -> Select[*tuple[Any, ...]]:
    """At most so many secrets whose bytes do not begin with `header`, locked."""
    return (
        select(SECRETS.c.environment_id, SECRETS.c.endpoint_id, SECRETS.c.id, SECRETS.c.secret)
        .where(_is_under_another_key(SECRETS.c.secret, header))
        .limit(most)
        .with_for_update()
    )


def headers_under_other_keys(header: bytes, most: int) -> Select[*tuple[Any, ...]]:
    """At most so many endpoints whose headers' bytes do not begin with `header`, locked."""
    return (
        select(ENDPOINTS.c.environment_id, ENDPOINTS.c.id, ENDPOINTS.c.headers)
        .where(_is_under_another_key(ENDPOINTS.c.headers, header))
        .limit(most)
        .with_for_update()
    )


def replace_secret(environment_id: UUID, secret_id: UUID, old: bytes, new: bytes) -> Update:
    """Puts `new` where `old` still is."""
    return (
        update(SECRETS)
        .where(SECRETS.c.environment_id == environment_id, SECRETS.c.id == secret_id, SECRETS.c.secret == old)
        .values(secret=new)
    )


def replace_headers(environment_id: UUID, endpoint_id: UUID, old: bytes, new: bytes) -> Update:
    """Puts `new` where `old` still is; the endpoint itself has not changed, so its revision stays."""
    return (
        update(ENDPOINTS)
        .where(ENDPOINTS.c.environment_id == environment_id, ENDPOINTS.c.id == endpoint_id, ENDPOINTS.c.headers == old)
        .values(headers=new)
    )


def _is_under_another_key(blob: Any, header: bytes) -> Any:  # noqa: ANN401 column expressions
    start = bindparam("header", header, LargeBinary)
    return and_(blob.is_not(None), func.substr(blob, 1, len(header)) != start)
