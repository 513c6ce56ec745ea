"""Whether it is well, and whom it hurts if not."""

from app.cli.observe.dashboards.panels import Dashboard, Panel, Query, Row, gauge, mean, quantiles, rate

_ERRORS = "postrider:slo_errors:ratio_rate"
_BURN = " / (1 - postrider:slo_goal:ratio < 1)"

_NOW = Row(
    "Now",
    (
        Panel(
            "Budget left",
            "What is left of each objective's errors for thirty days. Red: less than a tenth.",
            (Query("postrider:slo_budget:remaining_ratio30d", "{{objective}}"),),
            unit="percentunit",
            kind="stat",
            width=12,
            floor=0.1,
        ),
        Panel(
            "Alerts that fire",
            "By name; each has a runbook of the same name.",
            (Query('count by (alertname, severity) (ALERTS{alertstate="firing"})', "{{alertname}} {{severity}}"),),
            kind="stat",
            width=6,
            fault="an alert fires",
            limit=1,
        ),
        Panel(
            "Processes",
            "That answer Prometheus, by what they are.",
            (Query("count by (component) (postrider_build_info)", "{{component}}"),),
            kind="stat",
            width=6,
        ),
    ),
)

_BURNS = Row(
    "Objectives",
    (
        Panel(
            "Burn over an hour",
            "1 uses the budget up in thirty days; at 14.4 somebody is woken.",
            (Query(f"{_ERRORS}1h{_BURN}", "{{objective}}"),),
            limit=14.4,
        ),
        Panel(
            "Burn over six hours",
            "At 6 somebody is woken.",
            (Query(f"{_ERRORS}6h{_BURN}", "{{objective}}"),),
            limit=6,
        ),
        Panel(
            "Burn over three days",
            "At 1 there is a ticket.",
            (Query(f"{_ERRORS}3d{_BURN}", "{{objective}}"),),
            limit=1,
        ),
    ),
)

_REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Rate by status",
            "Answers a second.",
            (Query(rate("postrider_http_requests_total", "status"), "{{status}}"),),
            unit="reqps",
        ),
        Panel(
            "Failures by route",
            "Answers a second with 5xx: who uses these routes gets nothing.",
            (Query(rate("postrider_http_requests_total", "method, route", 'status=~"5.+"'), "{{method}} {{route}}"),),
            unit="reqps",
            fault="a route fails",
        ),
        Panel("Duration", "From the head to the end of the answer.", quantiles("postrider_http_request_seconds"), "s"),
        Panel(
            "Busiest routes",
            "Ten, by requests a second.",
            (Query(f"topk(10, {rate('postrider_http_requests_total', 'method, route')})", "{{method}} {{route}}"),),
            unit="reqps",
            width=12,
        ),
        Panel(
            "Slowest routes",
            "Ten, by the mean duration of their answers.",
            (
                Query(
                    f"topk(10, {mean('postrider_http_request_seconds', 'method, route')})",
                    "{{method}} {{route}}",
                ),
            ),
            unit="s",
            width=12,
        ),
    ),
)

_MESSAGES = Row(
    "Messages",
    (
        Panel(
            "By outcome",
            "Accepted, repeated under an idempotency key, refused, failed; a second.",
            (Query(rate("postrider_messages_total", "outcome"), "{{outcome}}"),),
            unit="ops",
        ),
        Panel("Until durable", "From admission to the commit.", quantiles("postrider_accept_seconds"), "s"),
        Panel(
            "In each group commit",
            "How many messages one commit stores.",
            quantiles("postrider_commit_batch_messages"),
        ),
    ),
)

_SATURATION = Row(
    "Saturation of the API",
    (
        Panel(
            "Requests in flight",
            "By process.",
            (Query(gauge("postrider_http_requests_in_flight", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Messages that wait for a commit",
            "By process; more than 128 is more than one commit takes.",
            (Query(gauge("postrider_commit_waiting_messages", "instance"), "{{instance}}"),),
            limit=128,
        ),
        Panel(
            "Lateness of event loops",
            "How much later than asked they wake: whatever is high here is high for all requests of a process.",
            (
                Query(
                    "histogram_quantile(0.99, sum by (le, job)"
                    " (rate(postrider_loop_lag_seconds_bucket[$__rate_interval])))",
                    "{{job}} 99 %",
                ),
            ),
            unit="s",
            limit=0.25,
        ),
        Panel(
            "Processor time",
            "Cores, by job.",
            (Query(rate("process_cpu_seconds_total", "job", 'job=~"postrider.*"'), "{{job}}"),),
        ),
        Panel(
            "Memory",
            "Resident, by process.",
            (Query('process_resident_memory_bytes{job=~"postrider.*"}', "{{job}} {{instance}}"),),
            unit="bytes",
        ),
        Panel(
            "Rate-limit refusals",
            "429s a second, by class of routes and by what was counted.",
            (
                Query(
                    rate("postrider_rate_limit_refusals_total", "route_class, identity"),
                    "{{route_class}} by {{identity}}",
                ),
            ),
            unit="ops",
            fault="somebody goes beyond a rate limit",
        ),
    ),
)

OVERVIEW = Dashboard(
    "postrider-overview",
    "Postrider: overview",
    "Is it well, and whom does it hurt? Objectives first, then rate, errors, duration and saturation of the API.",
    (_NOW, _BURNS, _REQUESTS, _MESSAGES, _SATURATION),
)
