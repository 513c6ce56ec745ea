"""The error reports of a process of the workers."""

from app.kit.telemetry import reports
from app.settings import Settings


def start_reports(settings: Settings, component: str) -> None:
    """Begins to report what is logged at ERROR, where there is a DSN; call it after the fork."""
    telemetry = settings.telemetry
    reports.start(
        telemetry.dsn(),
        component,
        environment=settings.environment.value,
        revision=telemetry.revision,
        sample=telemetry.sentry_sample,
    )
