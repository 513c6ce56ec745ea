"""Retention as Celery runs it."""

import logging

from sqlalchemy.orm import Session, sessionmaker

from app.features.retention import operations

logger = logging.getLogger(__name__)


def retain(sessions: sessionmaker[Session]) -> operations.Report:
    """Makes the partitions of the next days and lets go what is over."""
    report = operations.retain(sessions)
    logger.info("retention: dropped %s, moved on %d payloads", report.dropped or "nothing", report.moved)
    return report
