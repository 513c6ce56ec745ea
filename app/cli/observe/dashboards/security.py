"""Who tries to come in, who is refused, and what is unusual about it."""

from app.cli.observe.dashboards.panels import Dashboard, Panel, Query, Row, gauge, rate, share

_SIGN_INS = Row(
    "Sign-ins",
    (
        Panel(
            "By method and outcome",
            "A second.",
            (Query(rate("postrider_sign_ins_total", "method, outcome"), "{{method}} {{outcome}}"),),
            unit="ops",
            fault="a sign-in fails",
        ),
        Panel(
            "Share that failed",
            "Many at once: somebody tries other people's passwords.",
            (
                Query(
                    share("postrider_sign_ins_total", 'outcome!~"signed_in|stepped_up"'),
                    "failed",
                ),
            ),
            unit="percentunit",
            fault="a sign-in fails",
        ),
        Panel(
            "What spoke against them",
            "Signals a second: a new device, a new network, a sprayed address …",
            (Query(rate("postrider_sign_in_risk_signals_total", "signal"), "{{signal}}"),),
            unit="ops",
            fault="a sign-in fails",
        ),
        Panel(
            "Passwords that wait to be hashed",
            "By process: hashing is dear, and so the first thing that a flood of sign-ins fills.",
            (Query(gauge("postrider_password_hashes_waiting", "instance"), "{{instance}}"),),
        ),
    ),
)

_REFUSALS = Row(
    "Refusals",
    (
        Panel(
            "Requests refused",
            "A second: 401 for who is unknown, 403 for what it may not.",
            (Query(rate("postrider_refusals_total", "status"), "{{status}}"),),
            unit="ops",
        ),
        Panel(
            "Share of all requests",
            "A key that ended, or somebody who tries keys.",
            (
                Query(
                    f"{rate('postrider_refusals_total')} / ({rate('postrider_http_requests_total')} > 0)",
                    "refused",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "Beyond a rate limit",
            "A second, by what was counted.",
            (Query(rate("postrider_rate_limit_refusals_total", "identity"), "{{identity}}"),),
            unit="ops",
            fault="somebody goes beyond a rate limit",
        ),
    ),
)

_ANOMALIES = Row(
    "Anomalies",
    (
        Panel(
            "Sends to addresses that may not be called",
            "A second: somebody may probe the network, or a receiver is not allowed yet.",
            (Query(rate("postrider_egress_blocked_total"), "blocked"),),
            unit="ops",
        ),
        Panel(
            "Age of what is not sealed in the audit log",
            "Until it is sealed it could be changed unseen.",
            (Query(gauge("postrider_unsealed_audit_seconds", how="max"), "age"),),
            unit="s",
            limit=300,
        ),
        Panel(
            "Routes that refuse most",
            "Ten, by answers a second with 401 or 403.",
            (
                Query(
                    "topk(10, " + rate("postrider_http_requests_total", "method, route", 'status=~"401|403|4xx"') + ")",
                    "{{method}} {{route}}",
                ),
            ),
            unit="ops",
        ),
    ),
)

SECURITY = Dashboard(
    "postrider-security",
    "Postrider: security",
    "Who tries to come in, who is refused, and what is unusual about it.",
    (_SIGN_INS, _REFUSALS, _ANOMALIES),
)
