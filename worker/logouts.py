"""Tells clients that a session is over: claims rows, sends with no transaction open, records what came of it."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from sqlalchemy import Update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.features.oauth import keys, notice_queries
from app.features.oauth.tokens import Minter
from app.kit.egress import Answer, Egress, Options, Outgoing, Policy
from app.kit.encryption import KeyRing
from app.kit.telemetry.logs import get_logger
from app.kit.token_keys import Algorithm
from app.models import LogoutNotice
from worker.stopping import Stopping

INTERVAL_SECONDS = 2.0
AT_ONCE = 16
TAKEN = frozenset({200, 204})
FORM = {"content-type": "application/x-www-form-urlencoded"}
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Announcer:
    """What saying it needs: in whose name, by which keys, and how requests may leave."""

    issuer: str
    ring: KeyRing
    policy: Policy
    options: Options


@dataclass(frozen=True, slots=True)
class Word:
    """A notice, and the request that says it; None where nobody is to be told any more."""

    notice: LogoutNotice
    request: Outgoing | None


class Herald:
    """Says what is due in a thread of its own."""

    def __init__(self, sessions: sessionmaker[Session], announcer: Announcer, stopping: Stopping) -> None:
        self._sessions = sessions
        self._announcer = announcer
        self._stopping = stopping
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="herald", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the round that runs, if that does not take long."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ended.is_set() and not self._stopping.is_set():
            try:
                while announce(self._sessions, self._announcer) == AT_ONCE and not self._ended.is_set():
                    pass
            except Exception:
                # Whatever it is, the thread may not end with it.
                logger.exception("logouts_failed", effect="the next round tries again")
            self._ended.wait(INTERVAL_SECONDS)


def announce(sessions: sessionmaker[Session], announcer: Announcer) -> int:
    """Says what waits longest, some at once; says how many there were."""
    with sessions.begin() as db:
        words = _take(db, announcer)
    if words:
        outcomes = asyncio.run(_send(announcer, words))
        with sessions.begin() as db:
            for statement in outcomes:
                db.execute(statement)
    return len(words)


def _take(db: Session, announcer: Announcer) -> list[Word]:
    claimed = db.scalars(notice_queries.claim(AT_ONCE)).all()
    if not claimed:
        return []
    listeners = {row.id: row for row in db.execute(notice_queries.listeners(claimed))}
    minter = Minter(announcer.issuer, keys.key_set(db, announcer.ring))
    return [Word(one, _request(minter, one, listeners)) for one in claimed]


def _request(minter: Minter, notice: LogoutNotice, listeners: Mapping[UUID, Any]) -> Outgoing | None:
    listener = listeners.get(notice.client_id)
    if listener is None:
        return None
    algorithm = Algorithm(listener.id_token_algorithm)
    token = minter.logout_token(notice.client_id, notice.user_id, notice.session_id, algorithm)
    body = urlencode({"logout_token": token}).encode()
    return Outgoing(listener.backchannel_logout_uri, body, FORM, pool=notice.client_id)


async def _send(announcer: Announcer, words: Sequence[Word]) -> list[Update]:
    async with Egress(announcer.policy, announcer.options) as egress:
        return await asyncio.gather(*(_say(egress, one) for one in words))


async def _say(egress: Egress, word: Word) -> Update:
    if word.request is None:
        return notice_queries.dropped(word.notice)
    answer = await egress.post(word.request)
    if answer.failure is None and answer.status in TAKEN:
        return notice_queries.told(word.notice)
    failure = _failure(answer)
    logger.warning("client_not_told_of_logout", client_id=encode("client", word.notice.client_id), error=failure)
    return notice_queries.failed(word.notice, failure)


def _failure(answer: Answer) -> str:
    return answer.detail if answer.failure is not None else f"it answered {answer.status}"
