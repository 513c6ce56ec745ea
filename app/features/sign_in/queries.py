"""Statements about failures to sign in."""

from uuid import UUID

from sqlalchemy import Delete, Insert, Integer, Interval, Select, Update, case, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.failures import SLOWEST, STOP, wait
from app.domain.risk import LATELY
from app.models import Device, FailureCount

UNKNOWN_DEVICE = UUID(int=0)
LATELY_KIND = "lately"


def take(account_id: UUID, kind: str, device_id: UUID) -> Insert:
    """Counts a try as a failure, where one may be made now; only then its number comes back."""
    waits = {failures: literal(wait(failures), Interval) for failures in range(SLOWEST)}
    pause = case(waits, value=FailureCount.failures, else_=literal(wait(SLOWEST), Interval))
    first = insert(FailureCount).values(
        user_id=account_id, kind=kind, device_id=device_id, failures=1, failed_at=func.now()
    )
    return first.on_conflict_do_update(
        index_elements=[FailureCount.user_id, FailureCount.kind, FailureCount.device_id],
        set_={"failures": FailureCount.failures + 1, "failed_at": func.now()},
        # Of two at once the later one may have begun before the failure that the other one counted.
        where=(FailureCount.failures < STOP) & (FailureCount.failed_at + pause <= func.clock_timestamp()),
    ).returning(FailureCount.failures)


def note_lately(account_id: UUID, device_id: UUID) -> Insert:
    """Counts a failure of any kind, which no success takes back; the count ends when there was none for a while."""
    first = insert(FailureCount).values(
        user_id=account_id, kind=LATELY_KIND, device_id=device_id, failures=1, failed_at=func.now()
    )
    is_over = FailureCount.failed_at <= func.now() - LATELY
    return first.on_conflict_do_update(
        index_elements=[FailureCount.user_id, FailureCount.kind, FailureCount.device_id],
        set_={"failures": case((is_over, 1), else_=FailureCount.failures + 1), "failed_at": func.now()},
    )


def lately(account_id: UUID, device_id: UUID) -> Select[int]:
    """How often it failed lately, in any way and with successes between."""
    return select(FailureCount.failures).where(
        FailureCount.user_id == account_id,
        FailureCount.kind == LATELY_KIND,
        FailureCount.device_id == device_id,
        FailureCount.failed_at > func.now() - LATELY,
    )


def give_back(account_id: UUID, kind: str, device_id: UUID) -> Update:
    """Takes back what `take` counted, where nothing was tried after all."""
    return _update(account_id, kind, device_id).values(failures=func.greatest(FailureCount.failures - 1, 0))


def clear(account_id: UUID, kind: str, device_id: UUID) -> Delete:
    """Begins to count anew, after a success."""
    return delete(FailureCount).where(
        FailureCount.user_id == account_id, FailureCount.kind == kind, FailureCount.device_id == device_id
    )


def clear_kind(account_id: UUID, kind: str) -> Delete:
    """Begins to count anew for every device."""
    return delete(FailureCount).where(FailureCount.user_id == account_id, FailureCount.kind == kind)


def slow_down(account_id: UUID) -> Update:
    """Ends every stop; what was stopped may be tried at the slowest pace."""
    statement = update(FailureCount).where(FailureCount.user_id == account_id, FailureCount.failures > SLOWEST)
    return statement.values(failures=SLOWEST)


def count(account_id: UUID, kind: str, device_id: UUID) -> Select[int, float]:
    """The failures in a row, and the seconds since the last one."""
    return select(
        FailureCount.failures, func.extract("epoch", func.now() - FailureCount.failed_at).cast(Integer)
    ).where(FailureCount.user_id == account_id, FailureCount.kind == kind, FailureCount.device_id == device_id)


def device(user_id: UUID, device_id: UUID) -> Select[UUID]:
    """The device, where it is one that the person has signed in with."""
    return select(Device.id).where(Device.user_id == user_id, Device.id == device_id)


def _update(account_id: UUID, kind: str, device_id: UUID) -> Update:
    return update(FailureCount).where(
        FailureCount.user_id == account_id, FailureCount.kind == kind, FailureCount.device_id == device_id
    )
