"""A new version beside the one so far: the same questions to both."""

from app.cli.observe.dashboards.panels import POINTING, Dashboard, Panel, Query, Row, Variable, quantile, rate, share

_BOTH = 'version=~"$stable|$canary"'


def _share(metric: str, bad: str) -> tuple[Query, ...]:
    return (Query(share(metric, bad, "version", _BOTH), "{{version}}"),)


def _slow(metric: str, labels: str = "") -> tuple[Query, ...]:
    return (Query(quantile(0.99, metric, "version", f"{labels}{_BOTH}"), "{{version}}", exemplars=metric in POINTING),)


_WHAT = Row(
    "What runs",
    (
        Panel(
            "Processes by version",
            "The label is put on by the scrape: in a cluster the hash of a rollout's pods.",
            (Query(f"count by (version, component) (postrider_build_info{{{_BOTH}}})", "{{version}} {{component}}"),),
            width=12,
        ),
        Panel(
            "Requests by version",
            "A second: the canary's part of the traffic.",
            (Query(rate("postrider_http_requests_total", "version", _BOTH), "{{version}}"),),
            unit="reqps",
            width=12,
        ),
    ),
)

_API = Row(
    "API",
    (
        Panel(
            "Failures",
            "The share of answers with 5xx.",
            _share("postrider_http_requests_total", 'status=~"5.+"'),
            unit="percentunit",
            fault="a route fails",
        ),
        Panel("Slowest answers", "99 of 100 within.", _slow("postrider_http_request_seconds"), "s"),
        Panel("Until durable", "99 of 100 within.", _slow("postrider_accept_seconds"), "s"),
    ),
)

_WORKER = Row(
    "Workers",
    (
        Panel(
            "Attempts without an answer",
            "The share of them: endpoints are the same for both, so a difference is ours.",
            _share("postrider_attempts_total", 'result!~"[1-5]xx"'),
            unit="percentunit",
            fault="an endpoint is gone",
        ),
        Panel("First tries", "99 of 100 within.", _slow("postrider_attempt_seconds", 'lane="first", '), "s"),
        Panel("Cycles", "99 of 100 transactions within.", _slow("postrider_claim_seconds"), "s"),
    ),
)

_COST = Row(
    "Cost",
    (
        Panel(
            "Processor time",
            "Cores, by version and job.",
            (
                Query(
                    rate("process_cpu_seconds_total", "version, job", f'job=~"postrider.*", {_BOTH}'),
                    "{{version}} {{job}}",
                ),
            ),
        ),
        Panel(
            "Memory of a process",
            "Mean, by version and job.",
            (
                Query(
                    f'avg by (version, job) (process_resident_memory_bytes{{job=~"postrider.*", {_BOTH}}})',
                    "{{version}} {{job}}",
                ),
            ),
            unit="bytes",
        ),
        Panel(
            "Lateness of event loops",
            "99 of 100 within.",
            _slow("postrider_loop_lag_seconds"),
            unit="s",
        ),
    ),
)

ROLLOUT = Dashboard(
    "postrider-rollout",
    "Postrider: rollout",
    "The stable version against the canary: the same questions to both, side by side.",
    (_WHAT, _API, _WORKER, _COST),
    (
        Variable("stable", "Stable", "label_values(postrider_build_info, version)"),
        Variable("canary", "Canary", "label_values(postrider_build_info, version)"),
    ),
)
