"""Grants portal tokens."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.auth.portal import LIFETIME, MAX_TOKEN, Grant, PortalTokens, within
from app.domain.ids import decode
from app.features.applications import operations as applications
from app.features.authentication import queries
from app.features.authentication.schemas import ApplicationTokenExpireIn, AppPortalAccessIn, PortalApplicationIn
from app.kit.clock import new_id
from app.kit.errors import invalid, not_found
from app.kit.wire import is_name
from app.models import Application


async def make_application(
    db: AsyncSession, environment_id: UUID, reference: str, body: PortalApplicationIn
) -> Application:
    """The application of the body, made unless its uid, by default the one in the path, is there already.

    Raises Problem `not_found` when the path holds an id: ids are not for callers to choose.
    """
    if decode("app", reference) is not None or not is_name(reference):
        raise not_found("Application")
    values: dict[str, Any] = {
        "uid": body.uid or reference,
        "name": body.name,
        "throttle_rate": body.throttle_rate,
        "metadata_": body.metadata,
    }
    application, _ = await db.run_sync(applications.add_or_find, environment_id, values)
    return application


async def expire_all(db: AsyncSession, application: Application, body: ApplicationTokenExpireIn) -> None:
    """Ends the portal tokens that there are, those of the sessions that are named or all."""
    delay = timedelta(seconds=body.expiry or 0)
    every: list[str | None] = [None]
    for session_id in body.session_ids or every:
        await db.execute(queries.expire(application.environment_id, application.id, new_id(), session_id, delay))


def mint(tokens: PortalTokens, maker: Caller, application: Application, body: AppPortalAccessIn) -> str:
    """A portal token. Raises Problem `invalid` when its feature flags make it longer than a cookie may be."""
    token = tokens.mint(grant(maker, application, body), lifetime(body))
    if len(token) > MAX_TOKEN:
        raise invalid("featureFlags", "are too many, or too long, for one portal token", type_="too_long")
    return token


def grant(maker: Caller, application: Application, body: AppPortalAccessIn) -> Grant:
    """What the token is to allow."""
    return Grant(
        organisation_id=maker.organisation_id,
        environment_id=application.environment_id,
        application_id=application.id,
        feature_flags=body.feature_flags or (),
        capabilities=within(body.capabilities, maker.permissions, read_only=bool(body.read_only)),
        read_only=bool(body.read_only),
        session_id=body.session_id,
    )


def lifetime(body: AppPortalAccessIn) -> timedelta:
    """How long the token is to live."""
    return LIFETIME if body.expiry is None else timedelta(seconds=body.expiry)
