"""Signed URLs, for downloads and mail: makes them, and lets a request in whose URL is one."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy import Insert, Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain import signed_urls
from app.domain.signed_urls import BadLink, Link, Query, Target
from app.kit.clock import new_id, utc_now
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem
from app.kit.openapi import BY_LINK, answers
from app.kit.request_line import sent
from app.models import Organisation, UsedLink

PURPOSE = "signed-url"
LONGEST = timedelta(seconds=signed_urls.LONGEST)
READS = {"GET": "GET", "HEAD": "GET"}


class SignedUrls:
    """Makes and judges links under keys derived from the key ring; a key that leaves the ring ends its links."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def sign(
        self,
        organisation_id: UUID,
        path: str,
        query: Query = (),
        *,
        lifetime: timedelta,
        once: bool = False,
        address: str | None = None,
    ) -> str:
        """The decoded path and the query as a link, to be put behind the public URL; ValueError beyond seven days."""
        if not timedelta(seconds=1) <= lifetime <= LONGEST:
            msg = "a link lives for a second to seven days"
            raise ValueError(msg)
        key_id, key = self._ring.derive(PURPOSE)
        expires = int((utc_now() + lifetime).timestamp())
        link = Link(key_id, expires, organisation_id, new_id() if once else None, address is not None)
        return signed_urls.sign(key, link, path, query, address)

    def verify(self, method: str, path: str, query_string: str, address: str | None) -> Link:
        """The link of a request. Raises Problem `forbidden` with the code `link_invalid` or `link_expired`."""
        try:
            link, signature, query = signed_urls.split(query_string)
            key = self._ring.derive(PURPOSE, link.key_id)[1]
            target = Target(READS.get(method, method), path, query, address)
            is_good = signed_urls.is_good(key, link, signature, target)
        except (BadLink, KeyError, ValueError):
            raise link_invalid() from None
        if not is_good:
            raise link_invalid()
        if link.expires <= utc_now().timestamp():
            raise Problem(Kind.forbidden, "link_expired", "The link has expired: ask for a new one")
        return link


@dataclass(frozen=True, slots=True)
class LinkHolder:
    """Whoever holds a link: the organisation that it is for, and the request's transaction, which sees no other."""

    organisation_id: UUID
    db: AsyncSession


def link_invalid() -> Problem:
    """The URL is not one that was signed here, or it was changed."""
    return Problem(Kind.forbidden, "link_invalid", "The link is not valid here: open it as it was sent")


def link_used() -> Problem:
    """The link works once."""
    return Problem(Kind.forbidden, "link_used", "The link works once and was used: ask for a new one")


def in_force(organisation_id: UUID) -> Select[UUID]:
    """The organisation, unless it was deleted or suspended."""
    return select(Organisation.id).where(
        Organisation.id == organisation_id, Organisation.deleted_at.is_(None), Organisation.suspended_at.is_(None)
    )


def use(organisation_id: UUID, link_id: UUID, expires_at: datetime) -> Insert:
    """Uses the link up; no row comes back when it was. While another request uses it, this waits how that ends."""
    row = {"organisation_id": organisation_id, "link_id": link_id, "expires_at": expires_at}
    return insert(UsedLink).values(row).on_conflict_do_nothing().returning(UsedLink.link_id)


def used(organisation_id: UUID, link_id: UUID) -> Select[UUID]:
    """The link, when it was used up."""
    return select(UsedLink.link_id).where(UsedLink.organisation_id == organisation_id, UsedLink.link_id == link_id)


@answers(403, 503)
async def link_holder(request: Request) -> AsyncIterator[LinkHolder]:
    """One transaction for one link, committed before the answer leaves; a refusal leaves a one-time link unused."""
    method = sent(request.scope)[0]
    address = request.client.host if request.client else None
    link = SignedUrls(request.app.state.keyring).verify(
        method, request.scope["path"], request.scope["query_string"].decode("latin-1"), address
    )
    async with request.app.state.sessions.begin() as session:
        await session.run_sync(enter_tenants, [link.organisation_id])
        if await session.scalar(in_force(link.organisation_id)) is None:
            raise link_invalid()
        if link.once is not None:
            await _take(session, link, link.once, reads_only=method == "HEAD")
        yield LinkHolder(link.organisation_id, session)


setattr(link_holder, BY_LINK, True)
ByLink = Annotated[LinkHolder, Depends(link_holder, scope="function")]


async def _take(session: AsyncSession, link: Link, link_id: UUID, *, reads_only: bool) -> None:
    if reads_only:
        if await session.scalar(used(link.organisation_id, link_id)) is not None:
            raise link_used()
        return
    expires_at = datetime.fromtimestamp(link.expires, UTC) + timedelta(hours=1)
    if await session.scalar(use(link.organisation_id, link_id, expires_at)) is None:
        raise link_used()
