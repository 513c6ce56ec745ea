"""The traces of a process of the workers: its tasks and the statements of its pool, by ready-made instrumentations."""

from typing import Any

from celery.signals import task_prerun
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.trace import get_current_span
from sqlalchemy import Engine

from app.kit.queue import FOLLOWS
from app.kit.telemetry import traces
from app.kit.telemetry.trace_context import as_context, from_header
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
    # After those of the instrumentation, which begin the task's span.
    task_prerun.connect(_follow)
    if database is not None:
        # It was released for an older SQLAlchemy; the tests show that it does with ours.
        SQLAlchemyInstrumentor().instrument(tracer_provider=provider, engines=[database], skip_dep_check=True)


def _follow(task: Any, **_: Any) -> None:  # noqa: ANN401 the signal's own arguments
    """Links a task's span to those of the others who asked for it."""
    for one in task.request.get(FOLLOWS) or ():
        if (place := from_header(one.encode())) is not None:
            get_current_span().add_link(as_context(place))
