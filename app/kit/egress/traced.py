"""The spans of requests that go out, which tell where to, and of the URL no more: people put secrets into it."""

from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from app.kit.egress.client import Answer, Egress, Outgoing
from app.kit.telemetry import traces

CLIENT_ERROR = 400
_PORTS = {"http": 80, "https": 443}


class TracedEgress(Egress):
    """Records each request within the request that it is made for, where that is recorded."""

    async def send(self, request: Outgoing) -> Answer:
        """Sends `request`; see `Egress.send`."""
        at_hand = traces.at_hand()
        if not at_hand:
            return await super().send(request)
        span = traces.begin(request.method, at_hand[0], SpanKind.CLIENT, described(request.method, request.url))
        with traces.within(span):
            answer = await super().send(request)
            if span is not None and answer.status is not None:
                span.set_attribute("http.response.status_code", answer.status)
            if span is not None and (error := _error(answer)):
                traces.fail(span, error)
        return answer


def described(method: str, url: str) -> dict[str, str | int]:
    """What a span tells of a request, by the semantic conventions. Of a URL that cannot be read it tells nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return {"http.request.method": method}
    host = parts.hostname or ""
    return {
        "http.request.method": method,
        "server.address": host,
        "server.port": port,
        "url.full": f"{parts.scheme}://{host}:{port}/REDACTED",
    }


def _error(answer: Answer) -> str | None:
    if answer.failure is not None:
        return answer.failure.value
    return str(answer.status) if answer.status is not None and answer.status >= CLIENT_ERROR else None
