"""Statements about logouts of which clients are owed a word (OpenID Connect Back-Channel Logout)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, Update, and_, case, func, select, tuple_, update

from app.models import LogoutNotice, OAuthClient

LEASE = timedelta(minutes=1)
GIVEN_UP_AFTER = timedelta(days=1)
RESTS = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=5), timedelta(hours=1))
GONE = "the client is gone, or hears of logouts no longer"
_KEY = (LogoutNotice.organisation_id, LogoutNotice.id)


def rest(attempts: int) -> timedelta:
    """For how long a notice rests that failed so often."""
    return RESTS[min(attempts, len(RESTS)) - 1]


def claim(most: int) -> Update:
    """Takes the notices that wait longest, for as long as the lease; their number of attempts is the fence."""
    due = (
        select(*_KEY)
        .where(LogoutNotice.due_at <= func.now())
        .order_by(LogoutNotice.due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return (
        update(LogoutNotice)
        .where(tuple_(*_KEY).in_(due))
        .values(due_at=func.now() + LEASE, attempts=LogoutNotice.attempts + 1)
        .returning(LogoutNotice)
        .execution_options(synchronize_session=False)
    )


def listeners(notices: Sequence[LogoutNotice]) -> Select[*tuple[Any, ...]]:
    """Of each client that is to be told: where, and how its tokens are signed."""
    wanted = {(one.organisation_id, one.client_id) for one in notices}
    return select(OAuthClient.id, OAuthClient.backchannel_logout_uri, OAuthClient.id_token_algorithm).where(
        tuple_(OAuthClient.organisation_id, OAuthClient.id).in_(wanted),
        OAuthClient.deleted_at.is_(None),
        OAuthClient.backchannel_logout_uri.is_not(None),
    )


def told(notice: LogoutNotice) -> Update:
    """It was said."""
    return _fenced(notice).values(sent_at=func.now(), due_at=None, last_failure=None)


def failed(notice: LogoutNotice, failure: str) -> Update:
    """Puts it off, until it has been tried for a day."""
    is_too_late = LogoutNotice.created_at < func.now() - GIVEN_UP_AFTER
    again = case((is_too_late, None), else_=func.now() + rest(notice.attempts))
    return _fenced(notice).values(due_at=again, last_failure=failure)


def dropped(notice: LogoutNotice) -> Update:
    """Nobody is to be told any more."""
    return _fenced(notice).values(due_at=None, last_failure=GONE)


def _fenced(notice: LogoutNotice) -> Update:
    mine = and_(
        LogoutNotice.organisation_id == notice.organisation_id,
        LogoutNotice.id == notice.id,
        LogoutNotice.attempts == notice.attempts,
    )
    return update(LogoutNotice).where(mine).execution_options(synchronize_session=False)
