"""One endpoint's neighbourhood: no metric names it, so exemplars lead to traces, and traces to it."""

from app.cli.observe.dashboards.panels import Dashboard, Panel, Query, Row, Variable, quantile, quantiles, rate

_HOW = """\
No metric names an endpoint. **From a picture to an endpoint**: the points on these pictures are exemplars; a click
opens the trace of that attempt, whose span `POST` carries `postrider.endpoint_id` and `postrider.message_id`.

**From an endpoint to a picture**: write its id into *Endpoint* above and follow *Traces of this endpoint*; what a trace
took, and when, tells which of these curves it belongs to. Every attempt of it, sampled or not, is in
`GET /api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}`, and in the logs under `endpoint_id`."""

_WAY = Row("The way", (Panel("How to read this", _HOW, kind="text", width=24),))

_ATTEMPTS = Row(
    "Attempts",
    (
        Panel(
            "Duration of first tries",
            "With exemplars: each is an attempt of which there is a trace.",
            quantiles("postrider_attempt_seconds", labels='lane="first"'),
            unit="s",
            width=12,
        ),
        Panel(
            "Duration of retries",
            "With exemplars: a retry is a trace of its own, linked to the first.",
            quantiles("postrider_attempt_seconds", labels='lane="retry"'),
            unit="s",
            width=12,
            fault="an endpoint fails",
        ),
        Panel(
            "Attempts that got no answer, or not the right one",
            "A second, by result.",
            (
                Query(
                    rate("postrider_attempts_total", "lane, result", 'result!="2xx"'),
                    "{{lane}} {{result}}",
                ),
            ),
            unit="ops",
            width=12,
            fault="an endpoint fails",
        ),
        Panel(
            "From acceptance to delivery",
            "With exemplars: the slowest one in a hundred, by tries.",
            (Query(quantile(0.99, "postrider_delivery_seconds", "tries"), "{{tries}}", exemplars=True),),
            unit="s",
            width=12,
        ),
    ),
)

_ROUTES = Row(
    "What its owner sees",
    (
        Panel(
            "Acceptance",
            "With exemplars: the trace of a message begins here.",
            quantiles("postrider_accept_seconds"),
            unit="s",
            width=12,
        ),
        Panel(
            "Requests",
            "With exemplars: their traces carry the organisation.",
            quantiles("postrider_http_request_seconds"),
            unit="s",
            width=12,
        ),
    ),
)

ENDPOINT = Dashboard(
    "postrider-endpoint",
    "Postrider: one endpoint",
    "One endpoint's neighbourhood, by exemplar to its trace.",
    (_WAY, _ATTEMPTS, _ROUTES),
    (
        Variable("endpoint", "Endpoint"),
        Variable("jaeger", "Jaeger", default="http://localhost:16686"),
    ),
    (
        (
            "Traces of this endpoint",
            '${jaeger}/search?service=postrider-worker&tags={"postrider.endpoint_id":"${endpoint}"}',
        ),
    ),
)
