"""The alerts that no budget stands behind: what somebody feels first, then what may be the cause."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.cli.observe.objectives import lost

Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True)
class Alert:
    """Fires when `expr` has held for as long as `lasts`; `page` wakes somebody, `ticket` waits for the morning.

    The summary says what is wrong, the impact whom it hurts; what to do is in the runbook of the same name.
    """

    name: str
    group: str
    severity: Severity
    owner: str
    dashboard: str
    expr: str
    summary: str
    impact: str
    lasts: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def _increase(metric: str, window: str, labels: str = "") -> str:
    return f"sum(increase({metric}{{{labels}}}[{window}]))" if labels else f"sum(increase({metric}[{window}]))"


def _rate(metric: str, window: str, labels: str = "") -> str:
    return f"sum(rate({metric}{{{labels}}}[{window}]))" if labels else f"sum(rate({metric}[{window}]))"


SYMPTOMS = (
    Alert(
        name="ApiDown",
        group="symptoms",
        severity="page",
        owner="api",
        dashboard="postrider-overview",
        expr='absent(up{job="postrider-api"} == 1)',
        lasts="2m",
        summary="No process of the API is there",
        impact="Nobody can send events or see anything; what was accepted is still delivered.",
    ),
    Alert(
        name="NobodyDelivers",
        group="symptoms",
        severity="page",
        owner="delivery",
        dashboard="postrider-workers",
        expr='time() - max(postrider_heartbeat_timestamp_seconds{loop="engine"}) > 60\n'
        'or absent(postrider_heartbeat_timestamp_seconds{loop="engine"})',
        lasts="1m",
        summary="No worker process turns",
        impact="Events are accepted and kept, and nobody gets any.",
    ),
    Alert(
        name="DeliveriesLost",
        group="symptoms",
        severity="page",
        owner="delivery",
        dashboard="postrider-delivery",
        expr=f"{lost('1h')} > 0",
        summary="{{ $value | humanize }} deliveries of accepted messages are neither owed nor ended",
        impact="Endpoints never get events that were answered with 202: the one promise that has no budget.",
    ),
    Alert(
        name="DeliveriesOverdue",
        group="symptoms",
        severity="page",
        owner="delivery",
        dashboard="postrider-delivery",
        expr='max by (lane) (postrider_oldest_due_seconds{lane="first"}) > 60',
        lasts="3m",
        summary="A new delivery has been due for {{ $value | humanizeDuration }} and nobody has claimed it",
        impact="Events of some or all organisations wait, whatever their endpoints are like.",
    ),
    Alert(
        name="DeliveriesOverdue",
        group="symptoms",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-delivery",
        expr='max by (lane) (postrider_oldest_due_seconds{lane!="first"}) > 600',
        lasts="10m",
        summary="A {{ $labels.lane }} has been due for {{ $value | humanizeDuration }} and nobody has claimed it",
        impact="What failed once, or was asked for again, comes later than was promised.",
    ),
    Alert(
        name="AttemptsGetNoAnswer",
        group="symptoms",
        severity="page",
        owner="delivery",
        dashboard="postrider-delivery",
        expr=f"""{_rate("postrider_attempts_total", "5m", 'result!~"[1-5]xx|blocked_address|invalid_url"')}
  / {_rate("postrider_attempts_total", "5m")} > 0.5
and {_rate("postrider_attempts_total", "5m")} > 1""",
        lasts="5m",
        summary="{{ $value | humanizePercentage }} of attempts get no answer at all",
        impact="Endpoints of many customers at once get nothing: rather our way out than theirs in.",
    ),
    Alert(
        name="FiguresMissing",
        group="symptoms",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-workers",
        expr="""time() - max by (figure) (postrider_figures_timestamp_seconds) > 300
or absent(postrider_figures_timestamp_seconds)""",
        lasts="5m",
        summary="What is due, waits or was lost is not counted any more: {{ $labels.figure }}",
        impact="Nobody yet; alerts on overdue and lost deliveries are blind, and autoscaling has nothing to follow.",
    ),
    Alert(
        name="MailWaits",
        group="symptoms",
        severity="ticket",
        owner="api",
        dashboard="postrider-workers",
        expr="max(postrider_oldest_mail_seconds) > 900",
        lasts="5m",
        summary="A mail has waited for {{ $value | humanizeDuration }}",
        impact="People who are invited, forgot a password or must be warned get no mail.",
    ),
    Alert(
        name="BackgroundTasksWait",
        group="symptoms",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-workers",
        expr="max(postrider_oldest_background_task_seconds) > 900",
        lasts="5m",
        summary="A background task has waited for {{ $value | humanizeDuration }}",
        impact="Recoveries and replays that somebody asked for do not begin.",
    ),
)

CAUSES = (
    Alert(
        name="BacklogGrows",
        group="causes",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-delivery",
        expr="""sum(max by (lane) (postrider_sendable_deliveries)) > 1000
and (
  sum(max by (lane) (deriv(postrider_sendable_deliveries[15m]))) > 0
  or max(postrider_sendable_deliveries) >= 100000
)""",
        lasts="15m",
        summary="{{ $value | humanize }} deliveries could go out now, and they become more or are too many to count",
        impact="Nobody yet; soon whoever waits for events.",
    ),
    Alert(
        name="BreakersSurge",
        group="causes",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-delivery",
        expr="""max(postrider_breakers{state="open"}) > 10
and max(postrider_breakers{state="open"}) > 0.2 * max(postrider_endpoints{state="enabled"})""",
        lasts="10m",
        summary="{{ $value | humanize }} breakers are open, of more than a fifth of all endpoints",
        impact="Their events wait for up to 15 minutes between tries.",
    ),
    Alert(
        name="LeasesExpire",
        group="causes",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-workers",
        expr=f"""{_rate("postrider_leases_expired_total", "30m")}
  / {_rate("postrider_attempts_total", "30m")} > 0.01""",
        lasts="15m",
        summary="Leases ran out for {{ $value | humanizePercentage }} of attempts",
        impact="Those events are a lease (30 s) late, and some arrive twice.",
    ),
    Alert(
        name="ZombieResults",
        group="causes",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-workers",
        expr=f"{_increase('postrider_zombie_results_total', '30m')} > 10",
        lasts="5m",
        summary="{{ $value | humanize }} results came after their lease within half an hour, and were dropped",
        impact="Those endpoints get the same event twice.",
    ),
    Alert(
        name="CyclesFail",
        group="causes",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-workers",
        expr=f"{_rate('postrider_cycle_failures_total', '5m')} > 0.1",
        lasts="5m",
        summary="{{ $value | humanize }} cycles of the delivery engine fail a second",
        impact="Events come late while claims and results have to be tried again.",
    ),
    Alert(
        name="LoopStands",
        group="causes",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-workers",
        # It is 0 in processes that know the loop and do not run it.
        expr="max by (job, instance, loop) (time() - (postrider_heartbeat_timestamp_seconds > 0)) > 60",
        lasts="2m",
        summary="The {{ $labels.loop }} of {{ $labels.instance }} has not turned for {{ $value | humanizeDuration }}",
        impact="What that process had claimed is late by a lease; the others carry on.",
    ),
    Alert(
        name="CommitQueueFull",
        group="causes",
        severity="ticket",
        owner="api",
        dashboard="postrider-overview",
        expr="max by (job, instance) (avg_over_time(postrider_commit_waiting_messages[5m])) > 128",
        lasts="5m",
        summary="{{ $value | humanize }} messages wait at {{ $labels.instance }}, more than one group commit takes",
        impact="Answers to senders take longer, and organisations that send much are refused (429).",
    ),
    Alert(
        name="PoolExhausted",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-stores",
        # A pool of one is somebody's own connection.
        expr="""max by (job, pool) (
  avg_over_time(postrider_pool_connections[5m]) / (avg_over_time(postrider_pool_connections_limit[5m]) > 1)
) > 0.9""",
        lasts="5m",
        summary="{{ $value | humanizePercentage }} of the database connections of pool {{ $labels.pool }} are in use",
        impact="Requests wait for a connection before they are answered.",
    ),
    Alert(
        name="LoopLags",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-overview",
        expr="""histogram_quantile(0.99,
  sum by (job, instance, le) (rate(postrider_loop_lag_seconds_bucket[5m]))
) > 0.25""",
        lasts="5m",
        summary="The event loop of {{ $labels.instance }} wakes up to {{ $value | humanizeDuration }} late",
        impact="Everything that this process answers or sends is late by so much.",
    ),
    Alert(
        name="RedisAway",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-stores",
        expr="max by (use) (max_over_time(postrider_redis_unavailable[1m])) > 0",
        lasts="2m",
        summary="Redis does not answer ({{ $labels.use }})",
        impact="Events come up to a second later; only sign-in and administration are limited, by each process alone.",
    ),
    Alert(
        name="WakeUpsFail",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-workers",
        expr=f"""{_rate("postrider_wake_ups_total", "10m", 'outcome="failed"')}
  / {_rate("postrider_wake_ups_total", "10m")} > 0.1""",
        lasts="5m",
        summary="{{ $value | humanizePercentage }} of wake-ups could not be sent",
        impact="Events come up to a second later.",
    ),
    Alert(
        name="TasksFail",
        group="causes",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-workers",
        expr="""sum by (task) (increase(postrider_tasks_total{outcome="failed"}[3h]))
  / sum by (task) (increase(postrider_tasks_total[3h])) > 0.1""",
        lasts="5m",
        summary="{{ $value | humanizePercentage }} of the runs of {{ $labels.task }} failed",
        impact="Nobody at first; keys, partitions and retention are late in the end.",
    ),
    Alert(
        name="BeatAbsent",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-workers",
        expr='absent(up{job="postrider-beat"} == 1)',
        lasts="10m",
        summary="Nobody starts what is done each hour",
        impact="Nobody for two days; then there are no partitions for new messages.",
    ),
    Alert(
        name="PartitionsRunOut",
        group="causes",
        severity="ticket",
        owner="delivery",
        dashboard="postrider-stores",
        expr="min(postrider_partition_days_ahead) < 2",
        lasts="15m",
        summary="There are partitions for {{ $value | humanize }} days from now on",
        impact="Nobody today.",
    ),
    Alert(
        name="PartitionsRunOut",
        group="causes",
        severity="page",
        owner="delivery",
        dashboard="postrider-stores",
        expr="min(postrider_partition_days_ahead) < 1",
        lasts="15m",
        summary="There is no partition for tomorrow's messages",
        impact="From midnight (UTC) on no message is accepted.",
    ),
    Alert(
        name="TargetsDown",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-overview",
        # A range has ports that nobody serves: only one that did matters.
        expr='up{job=~"postrider.*"} == 0 and max_over_time(up{job=~"postrider.*"}[15m]) == 1',
        lasts="5m",
        summary="{{ $labels.instance }} of {{ $labels.job }} was there and does not answer Prometheus any more",
        impact="Those whom the process served, if it is gone; else nobody.",
    ),
    Alert(
        name="ProcessesRestart",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-overview",
        expr='sum by (job) (changes(process_start_time_seconds{job=~"postrider.*"}[30m])) > 5',
        lasts="5m",
        summary="Processes of {{ $labels.job }} began anew {{ $value | humanize }} times within half an hour",
        impact="Whoever was being served at those moments; events in flight are late by a lease.",
    ),
    Alert(
        name="PostgresConnectionsNearLimit",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-stores",
        expr="sum(pg_stat_activity_count) / max(pg_settings_max_connections) > 0.85",
        lasts="5m",
        summary="{{ $value | humanizePercentage }} of PostgreSQL's connections are taken",
        impact="Nobody yet; the next process that starts finds none.",
    ),
    Alert(
        name="PostgresTransactionsOld",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-stores",
        expr="max(pg_stat_activity_max_tx_duration) > 900",
        lasts="5m",
        summary="A transaction of PostgreSQL has been open for {{ $value | humanizeDuration }}",
        impact="Claims become slower by the minute, since nothing that ended can be cleared away.",
    ),
    Alert(
        name="TelemetryDropped",
        group="causes",
        severity="ticket",
        owner="platform",
        dashboard="postrider-workers",
        expr="sum by (signal) (increase(postrider_telemetry_dropped_total[15m])) > 10",
        lasts="15m",
        summary="{{ $value | humanize }} {{ $labels.signal }} could not be told within 15 minutes",
        impact="Whoever must find out what is wrong next.",
    ),
)

SECURITY = (
    Alert(
        name="SignInsAttacked",
        group="security",
        severity="ticket",
        owner="security",
        dashboard="postrider-security",
        expr="""sum(increase(postrider_sign_ins_total{outcome!~"signed_in|stepped_up"}[15m])) > 100
and sum(increase(postrider_sign_ins_total{outcome!~"signed_in|stepped_up"}[15m]))
  > 5 * (sum(increase(postrider_sign_ins_total{outcome=~"signed_in|stepped_up"}[15m])) or vector(0))""",
        lasts="5m",
        summary="{{ $value | humanize }} sign-ins failed within 15 minutes, five times as many as went well",
        impact="Accounts whose passwords others know.",
    ),
    Alert(
        name="RefusalsSurge",
        group="security",
        severity="ticket",
        owner="security",
        dashboard="postrider-security",
        expr=f"""{_increase("postrider_refusals_total", "15m")} > 500
and {_increase("postrider_refusals_total", "15m")} > 0.3 * {_increase("postrider_http_requests_total", "15m")}""",
        lasts="5m",
        summary="{{ $value | humanize }} requests within 15 minutes came without a valid key, or for what it may not",
        impact="A customer whose key ended, or whomever somebody tries to be.",
    ),
    Alert(
        name="EgressBlocked",
        group="security",
        severity="ticket",
        owner="security",
        dashboard="postrider-security",
        expr=f"{_increase('postrider_egress_blocked_total', '15m')} > 50",
        lasts="5m",
        summary="{{ $value | humanize }} sends within 15 minutes were to addresses that may not be called",
        impact="Nobody; somebody may be probing our network, or an internal receiver is not allowed yet.",
    ),
    Alert(
        name="AuditUnsealed",
        group="security",
        severity="ticket",
        owner="security",
        dashboard="postrider-security",
        expr="max(postrider_unsealed_audit_seconds) > 300",
        lasts="5m",
        summary="The audit log has not been sealed for {{ $value | humanizeDuration }}",
        impact="Whoever must prove later what happened: what is not sealed can be changed unseen.",
    ),
)

ALERTS = (*SYMPTOMS, *CAUSES, *SECURITY)
