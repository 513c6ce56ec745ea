"""The ready-made instrumentations of an API process, off its hot path."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span
from sqlalchemy import Engine

from app.kit.telemetry import about

UNTRACED = "/static/,/livez$,/readyz$,/startupz$,/api/v1/health"


def _name(span: Span, _scope: Mapping[str, Any]) -> None:
    if span.is_recording() and (request_id := about.current().request_id) is not None:
        span.set_attribute("postrider.request_id", request_id)


@contextmanager
def instrumented(app: FastAPI, database: Engine, provider: TracerProvider | None) -> Iterator[None]:
    """Has spans made of the app's routes, of the statements of a pool, and of what is asked of Redis."""
    if provider is None:
        yield
        return
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
        server_request_hook=_name,
    )
    # The one that was built to hear of the start has none of it.
    app.middleware_stack = app.build_middleware_stack()
    # It was released for an older SQLAlchemy; the tests show that it does with ours.
    SQLAlchemyInstrumentor().instrument(tracer_provider=provider, engines=[database], skip_dep_check=True)
    RedisInstrumentor().instrument(tracer_provider=provider)
    try:
        yield
    finally:
        RedisInstrumentor().uninstrument()
        SQLAlchemyInstrumentor().uninstrument()
        FastAPIInstrumentor.uninstrument_app(app)
