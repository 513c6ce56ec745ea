"""What becomes of what was deleted: for a while it can be restored, and then it is gone."""

from datetime import datetime, timedelta

RESTORABLE = timedelta(days=30)
MARGIN = timedelta(hours=1)
"""Nothing is purged while a restoration that began in time may still be under way."""


def restorable_until(deleted_at: datetime) -> datetime:
    """The last moment at which it can be restored."""
    return deleted_at + RESTORABLE
