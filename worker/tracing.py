"""The traces of a process of the workers: its tasks and the statements of its pool, by ready-made instrumentations."""

from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import Engine

from app.kit.telemetry import traces
from app.settings import Settings


def start_traces(settings: Settings, component: str, database: Engine | None = None) -> None:
    """Begins to export, where there is a collector; call it after the fork."""
    telemetry = settings.telemetry
    provider = traces.start(
        telemetry.sample,
        component,
        environment=settings.environment.value,
        revision=telemetry.revision,
        callers=telemetry.sampled_callers,
    )
    if provider is None:
        return
    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call] # it has no types
    if database is not None:
        # It was released for an older SQLAlchemy; the tests show that it does with ours.
        SQLAlchemyInstrumentor().instrument(tracer_provider=provider, engines=[database], skip_dep_check=True)
