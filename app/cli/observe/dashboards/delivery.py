"""From acceptance to the endpoint: what waits, what goes out, what comes of it."""

from app.cli.observe.dashboards.panels import Dashboard, Panel, Query, Row, gauge, mean, quantiles, rate
from app.cli.observe.objectives import lost

_NOW = Row(
    "Now",
    (
        Panel(
            "Oldest due",
            "How long the oldest delivery has been due that nobody has claimed, by lane.",
            (Query(gauge("postrider_oldest_due_seconds", "lane", how="max"), "{{lane}}"),),
            unit="s",
            kind="stat",
            limit=60,
        ),
        Panel(
            "Could go out now",
            "Due, and held back by nothing: what an autoscaler follows.",
            (Query(gauge("postrider_sendable_deliveries", "lane", how="max"), "{{lane}}"),),
            kind="stat",
        ),
        Panel(
            "Lost",
            "Deliveries of accepted messages that are neither owed nor ended. Anything but 0 wakes somebody.",
            (Query(lost("1h")),),
            kind="stat",
            limit=1,
        ),
    ),
)

_BACKLOG = Row(
    "Backlog",
    (
        Panel(
            "Due, by lane and state",
            "Ready, later, being sent, or held behind an endpoint's gate.",
            (Query(gauge("postrider_due_deliveries", "lane, state", how="max"), "{{lane}} {{state}}"),),
            width=12,
        ),
        Panel(
            "From due to claimed",
            "99 of 100 within; above half a second wake-ups do not arrive.",
            quantiles("postrider_pickup_seconds", labels='lane="first"'),
            unit="s",
            width=12,
        ),
    ),
)

_OUTCOMES = Row(
    "What comes of it",
    (
        Panel(
            "Attempts by result",
            "A second; a class of status, or why there was no answer.",
            (Query(rate("postrider_attempts_total", "result"), "{{result}}"),),
            unit="ops",
        ),
        Panel(
            "Attempts by lane",
            "First tries, retries and replays a second.",
            (Query(rate("postrider_attempts_total", "lane"), "{{lane}}"),),
            unit="ops",
        ),
        Panel(
            "Deliveries that ended",
            "Delivered, exhausted or canceled, a second.",
            (Query(rate("postrider_deliveries_total", "outcome"), "{{outcome}}"),),
            unit="ops",
        ),
        Panel(
            "From acceptance to delivery, first try",
            "What healthy endpoints feel.",
            quantiles("postrider_delivery_seconds", labels='tries="first"'),
            unit="s",
            limit=5,
        ),
        Panel(
            "From acceptance to delivery, by tries",
            "Mean.",
            (
                Query(
                    mean("postrider_delivery_seconds", "tries"),
                    "{{tries}}",
                ),
            ),
            unit="s",
        ),
        Panel("Duration of attempts", "By lane.", quantiles("postrider_attempt_seconds", "lane"), "s"),
    ),
)

_HURDLES = Row(
    "What holds it up",
    (
        Panel(
            "Breakers",
            "Endpoints whose breaker is open, or let one try through.",
            (Query(gauge("postrider_breakers", "state", how="max"), "{{state}}"),),
        ),
        Panel(
            "Held back",
            "Deliveries put behind their endpoint's gate, a second.",
            (Query(rate("postrider_deliveries_held_back_total")),),
            unit="ops",
        ),
        Panel(
            "Endpoints",
            "Enabled and disabled.",
            (Query(gauge("postrider_endpoints", "state", how="max"), "{{state}}"),),
        ),
    ),
)

DELIVERY = Dashboard(
    "postrider-delivery",
    "Postrider: delivery pipeline",
    "From acceptance to the endpoint: what waits, what goes out, and what comes of it.",
    (_NOW, _BACKLOG, _OUTCOMES, _HURDLES),
)
