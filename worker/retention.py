"""Retention as Celery runs it."""

from sqlalchemy.orm import Session, sessionmaker

from app.features.retention import operations
from app.kit.telemetry.logs import get_logger

logger = get_logger(__name__)


def retain(sessions: sessionmaker[Session]) -> operations.Report:
    """Makes the partitions of the next days and lets go what is over."""
    report = operations.retain(sessions)
    logger.info("retention_ended", dropped=report.dropped, moved=report.moved)
    return report
