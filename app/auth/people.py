"""Who is signed in at a browser: found by the session's cookie."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.sql.dml import ReturningUpdate
from starlette.responses import Response

from app.auth.audit import where_of
from app.auth.cookies import SESSION
from app.domain.assurance import STRONG
from app.domain.owned_tokens import Token
from app.kit.cache import Cache
from app.kit.clock import utc_now
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.errors import forbidden, unauthenticated
from app.models import Passkey, PersonSession, Totp, User

COOKIE = SESSION
TICKET = "__Host-postrider_ticket"
"""The cookie of half a sign-in: it opens the second step alone."""
CSRF_PURPOSE = "csrf"
RECENT = timedelta(minutes=5)
NOTED_EVERY = timedelta(minutes=1)
PERSON = "postrider.person"
"""Where the scope holds the person, once it was looked for."""
ENROL = "An organisation of yours demands a second factor: add one, then go on"
SHOW = "An organisation of yours demands a second factor, which this session has not shown: show it, then repeat this"


@dataclass(frozen=True, slots=True)
class Person:
    """A person who is signed in. `organisation_id` is the one looked at; `methods` are those of RFC 8176."""

    user_id: UUID
    session_id: UUID
    session_version: int
    email: str
    name: str
    organisation_id: UUID | None
    device_id: UUID | None
    methods: Sequence[str]
    authenticated_at: datetime
    reauthenticated_at: datetime
    expires_at: datetime
    has_mfa: bool
    impersonator: str | None

    @property
    def is_recent(self) -> bool:
        """Whether the person showed to be there within the last minutes, as dangerous acts ask for."""
        return utc_now() - self.reauthenticated_at <= RECENT


@dataclass(frozen=True, slots=True)
class Kept:
    """A session as PostgreSQL told it: the person, the digest of its secret, and when it was last seen."""

    person: Person
    digest: str
    last_seen_at: datetime

    def is_for(self, token: Token, idle: timedelta) -> bool:
        """Whether the token opens it now."""
        now = utc_now()
        is_over = self.person.expires_at <= now or self.last_seen_at + idle <= now
        return not is_over and hmac.compare_digest(self.digest, token.digest.hex())


_KEPT = TypeAdapter(Kept)


class People:
    """Turns a cookie into the person; one for each process. `idle` is how long a session may rest.

    A session in use is noted as such once a minute at most, with the address from which it was.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession], cache: Cache, idle: timedelta) -> None:
        self._sessions = sessions
        self._cache = cache
        self._idle = idle
        self._note_after = min(NOTED_EVERY, idle / 10)

    async def find(self, cookie: str, address: str | None = None) -> Person | None:
        """The person whose session it is; None when it is over, or never was."""
        token = Token.read(cookie)
        if token is None:
            return None
        looked = await self._cache.get(f"session/{token.owner_id.hex}/{token.id.hex}", [token.owner_id])
        kept = None if looked.value is None else _read(looked.value)
        if kept is not None and kept.is_for(token, self._idle):
            return kept.person
        asked = await self._ask(token, address)
        if asked is None:
            return None
        await self._cache.put(looked, _KEPT.dump_json(asked))
        return asked.person

    async def is_asked_for_mfa(self, user_id: UUID) -> bool:
        """Whether an organisation of the person demands a second factor."""
        async with self._sessions.begin() as db:
            return bool(await db.scalar(select(func.demands_mfa(user_id))))

    async def _ask(self, token: Token, address: str | None) -> Kept | None:
        async with self._sessions.begin() as db:
            await db.run_sync(enter_tenants, [token.owner_id])
            row = (await db.execute(_session(token, self._idle))).one_or_none()
            if row is None or not hmac.compare_digest(row[0].digest, token.digest):
                return None
            seen = row[0].last_seen_at
            if seen + self._note_after <= utc_now():
                seen = await db.scalar(_seen(token, address)) or seen
        return Kept(_person(row), token.digest.hex(), seen)


def _read(value: bytes) -> Kept | None:
    try:
        return _KEPT.validate_json(value)
    except ValidationError:
        return None  # kept by a process of another version


def has_mfa(user_id: UUID) -> Select[bool]:
    """Whether the person has a second factor."""
    return select(_has_mfa(user_id))


def _has_mfa(user_id: UUID) -> ColumnElement[bool]:
    return or_(
        exists().where(Passkey.user_id == user_id),
        exists().where(Totp.user_id == user_id, Totp.confirmed_at.is_not(None)),
    )


def _session(token: Token, idle: timedelta) -> Select[PersonSession, User, bool]:
    return (
        select(PersonSession, User, _has_mfa(token.owner_id))
        .join(User, and_(User.id == PersonSession.user_id, User.session_version == PersonSession.session_version))
        .where(
            PersonSession.user_id == token.owner_id,
            PersonSession.id == token.id,
            PersonSession.ended_at.is_(None),
            PersonSession.expires_at > func.now(),
            PersonSession.last_seen_at > func.now() - idle,
            User.deleted_at.is_(None),
            User.disabled_at.is_(None),
        )
    )


def _seen(token: Token, address: str | None) -> ReturningUpdate[datetime]:
    return (
        update(PersonSession)
        .where(PersonSession.user_id == token.owner_id, PersonSession.id == token.id)
        .values(last_seen_at=func.now(), last_seen_from=None if address is None else ip_address(address))
        .returning(PersonSession.last_seen_at)
        .execution_options(synchronize_session=False)
    )


def _person(row: Row[PersonSession, User, bool]) -> Person:
    session, user, mfa = row
    return Person(
        user_id=user.id,
        session_id=session.id,
        session_version=user.session_version,
        email=user.email,
        name=user.name,
        organisation_id=session.organisation_id,
        device_id=session.device_id,
        methods=tuple(session.methods),
        authenticated_at=session.authenticated_at,
        reauthenticated_at=session.reauthenticated_at,
        expires_at=session.expires_at,
        has_mfa=mfa,
        impersonator=session.impersonator,
    )


def csrf_token(ring: KeyRing, binding: bytes) -> str:
    """The token that forms of one session (or of one visit, before there is a session) carry."""
    return hmac.digest(ring.derive(CSRF_PURPOSE)[1], binding, sha256).hex()


async def look(request: Request) -> Person | None:
    """The person who is signed in, looked for once; None for nobody."""
    if PERSON not in request.scope:
        people: People = request.app.state.people
        cookie = request.cookies.get(COOKIE)
        address = where_of(request).ip
        request.scope[PERSON] = None if cookie is None else await people.find(cookie, address)
    found: Person | None = request.scope[PERSON]
    return found


async def enrolling(request: Request) -> Person:
    """The person who is signed in, perhaps without the second factor that an organisation demands.

    Raises Problem `unauthenticated`, and says by its word `mfa_required` that the second step is missing.
    """
    person = await look(request)
    if person is None:
        raise unauthenticated("Sign in first", "mfa_required" if TICKET in request.cookies else None)
    return person


async def signed_in(request: Request, person: Annotated[Person, Depends(enrolling)]) -> Person:
    """The person who is signed in. Raises Problem `unauthenticated`.

    Where an organisation demands a second factor: Problem `forbidden`, `mfa_enrolment_required` for who has none, and
    `reauth_required` for a session that began before there was one.
    """
    people: People = request.app.state.people
    is_enough = person.impersonator is not None or (person.has_mfa and not STRONG.isdisjoint(person.methods))
    if not is_enough and await people.is_asked_for_mfa(person.user_id):
        raise forbidden(SHOW, "reauth_required") if person.has_mfa else forbidden(ENROL, "mfa_enrolment_required")
    return person


async def enrolling_recently(person: Annotated[Person, Depends(enrolling)]) -> Person:
    """As `recently`, perhaps still without the second factor that an organisation demands."""
    return _recently(person)


async def recently(person: Annotated[Person, Depends(signed_in)]) -> Person:
    """A person who showed to be there within the last minutes, and is nobody's guest.

    Raises Problem `forbidden` with the words `reauth_required` and `impersonated`.
    """
    return _recently(person)


async def in_person(person: Annotated[Person, Depends(signed_in)]) -> Person:
    """A person who acts for itself. Raises Problem `forbidden` (`impersonated`)."""
    return _in_person(person)


def _in_person(person: Person) -> Person:
    if person.impersonator is not None:
        raise forbidden("Whoever acts for somebody else cannot do this in their place", "impersonated")
    return person


def _recently(person: Person) -> Person:
    if not _in_person(person).is_recent:
        raise forbidden("Show once more that it is you, then repeat this", "reauth_required")
    return person


Visitor = Annotated[Person | None, Depends(look)]
SignedIn = Annotated[Person, Depends(signed_in)]
InPerson = Annotated[Person, Depends(in_person)]
RecentlySignedIn = Annotated[Person, Depends(recently)]
Enrolling = Annotated[Person, Depends(enrolling)]
RecentlyEnrolling = Annotated[Person, Depends(enrolling_recently)]
"""For the pages that must stay open to whoever lacks the second factor that an organisation demands."""


def set_cookie(answer: Response, token: str) -> None:
    """Gives the browser its session. It is a session cookie: how long it is good, the server says."""
    answer.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="lax")


def drop_cookie(answer: Response) -> None:
    """Takes the session's cookie back."""
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
