"""For each alert the series under which it fires, and those, near by, under which it is silent.

Series are written as promtool takes them, a value a minute: `0+5x10` is 0, 5, 10 … 50, `1x10` is 1 eleven times, and
`_` is no value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Series = Mapping[str, str]
WORKER = 'job="postrider-worker",instance="w:9100"'
API = 'job="postrider-api",instance="a:9100"'
DEFAULT = "30m"


@dataclass(frozen=True)
class Scene:
    """`shown` is the alert's value as its summary shows it, `labels` are those that tell it from others of its name.

    It is looked `at` this time, and for its silence at `silent_at` where that is another one.
    """

    alert: str
    severity: str
    fires: Series
    silent: Series
    shown: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    at: str = DEFAULT
    silent_at: str = ""

    def tells(self) -> tuple[str, str]:
        """What tells the alert from others of its name."""
        return tells({"severity": self.severity, **self.labels})


def tells(labels: Mapping[str, str]) -> tuple[str, str]:
    """How an alert is taken, and the speed at which its budget burns, if it has one."""
    return labels["severity"], labels.get("burn", "")


def histogram(name: str, labels: str, *, bound: str, every: str, within: str) -> Series:
    """What a histogram counts in all, and within a bound."""
    return {f"{name}_count{{{labels}}}": every, f'{name}_bucket{{{labels},le="{bound}"}}': within}


def requests(every: str, failed: str) -> Series:
    return {
        f'postrider_http_requests_total{{{API},status="202"}}': every,
        f'postrider_http_requests_total{{{API},status="503"}}': failed,
    }


def accepted(every: str, within: str) -> Series:
    return histogram("postrider_accept_seconds", API, bound="0.25", every=every, within=within)


def delivered(every: str, within: str, tries: str = "first") -> Series:
    labels = f'{WORKER},tries="{tries}"'
    return histogram("postrider_delivery_seconds", labels, bound="5.0", every=every, within=within)


def claimed(every: str, within: str, lane: str = "first") -> Series:
    return histogram("postrider_pickup_seconds", f'{WORKER},lane="{lane}"', bound="0.5", every=every, within=within)


def burn(alert: str, severity: str, factor: str, at: str, shown: str, fires: Series, silent: Series) -> Scene:
    objectives = {
        "ApiFails": "availability",
        "AcceptanceSlow": "acceptance",
        "DeliverySlow": "delivery",
        "WakeUpsStale": "freshness",
    }
    return Scene(alert, severity, fires, silent, shown, {"burn": factor, "objective": objectives[alert]}, at)


# Each fires a little above its limit over both windows, and is silent where the short one is well again, where it
# burns more slowly, or where there were too few events to wake anybody.
BURN_SCENES = (
    burn("ApiFails", "page", "14.4", "2h", "2%", requests("0+980x120", "0+20x120"), requests("0+987x120", "0+13x120")),
    burn("ApiFails", "page", "6", "8h", "0.8%", requests("0+992x480", "0+8x480"), requests("0+995x480", "0+5x480")),
    burn(
        "ApiFails",
        "ticket",
        "3",
        "25h",
        "0.4%",
        requests("0+996x1500", "0+4x1500"),
        # It is over: the short window is well.
        requests("0+996x1500", "0+4x1340 5360x160"),
    ),
    burn(
        "ApiFails",
        "ticket",
        "1",
        "73h",
        "0.2%",
        requests("0+998x4380", "0+2x4380"),
        requests("0+9995x4380", "0+5x4380"),
    ),
    burn(
        "AcceptanceSlow", "page", "14.4", "2h", "20%", accepted("0+100x120", "0+80x120"), accepted("0+4x120", "0+4x120")
    ),
    burn(
        "AcceptanceSlow", "page", "6", "8h", "10%", accepted("0+100x480", "0+90x480"), accepted("0+100x480", "0+95x480")
    ),
    burn(
        "AcceptanceSlow",
        "ticket",
        "3",
        "25h",
        "5%",
        accepted("0+100x1500", "0+95x1500"),
        accepted("0+100x1500", "0+98x1500"),
    ),
    burn(
        "AcceptanceSlow",
        "ticket",
        "1",
        "73h",
        "2%",
        accepted("0+100x4380", "0+98x4380"),
        accepted("0+1000x4380", "0+995x4380"),
    ),
    # That later tries are late is the endpoints' doing.
    burn(
        "DeliverySlow",
        "page",
        "14.4",
        "2h",
        "20%",
        delivered("0+100x120", "0+80x120"),
        {**delivered("0+100x120", "0+100x120"), **delivered("0+100x120", "0x120", "later")},
    ),
    burn(
        "DeliverySlow", "page", "6", "8h", "10%", delivered("0+100x480", "0+90x480"), delivered("0+100x480", "0+95x480")
    ),
    burn(
        "DeliverySlow",
        "ticket",
        "3",
        "25h",
        "5%",
        delivered("0+100x1500", "0+95x1500"),
        delivered("0+100x1500", "0+98x1500"),
    ),
    burn(
        "DeliverySlow",
        "ticket",
        "1",
        "73h",
        "2%",
        delivered("0+100x4380", "0+98x4380"),
        delivered("0+1000x4380", "0+995x4380"),
    ),
    burn(
        "WakeUpsStale",
        "ticket",
        "14.4",
        "2h",
        "20%",
        claimed("0+100x120", "0+80x120"),
        {**claimed("0+100x120", "0+100x120"), **claimed("0+100x120", "0x120", "retry")},
    ),
    burn(
        "WakeUpsStale", "ticket", "6", "8h", "10%", claimed("0+100x480", "0+90x480"), claimed("0+100x480", "0+95x480")
    ),
    burn(
        "WakeUpsStale",
        "ticket",
        "3",
        "25h",
        "5%",
        claimed("0+100x1500", "0+95x1500"),
        claimed("0+100x1500", "0+98x1500"),
    ),
    burn(
        "WakeUpsStale",
        "ticket",
        "1",
        "73h",
        "2%",
        claimed("0+100x4380", "0+98x4380"),
        claimed("0+1000x4380", "0+995x4380"),
    ),
)

# A clock of promtool begins at 0: a heartbeat of `0+60x30` is one of this very minute.
SYMPTOM_SCENES = (
    Scene(
        "ApiDown",
        "page",
        {f"up{{{API}}}": "1x20 0x10", f"up{{{WORKER}}}": "1x30"},
        {f"up{{{API}}}": "1x30", 'up{job="postrider-api",instance="a:9101"}': "0x30"},
    ),
    Scene(
        "NobodyDelivers",
        "page",
        {f'postrider_heartbeat_timestamp_seconds{{{WORKER},loop="engine"}}': "0+60x20 1200x10"},
        {
            f'postrider_heartbeat_timestamp_seconds{{{WORKER},loop="engine"}}': "0+60x20 1200x10",
            'postrider_heartbeat_timestamp_seconds{job="postrider-worker",instance="w:9101",loop="engine"}': "0+60x30",
        },
    ),
    Scene(
        "NobodyDelivers",
        "page",
        {f'postrider_heartbeat_timestamp_seconds{{{WORKER},loop="sweeper"}}': "0+60x30"},
        {f'postrider_heartbeat_timestamp_seconds{{{WORKER},loop="engine"}}': "0+60x30"},
        labels={"loop": "engine"},
    ),
    Scene(
        "DeliveriesLost",
        "page",
        {f"postrider_lost_deliveries_total{{{WORKER}}}": "0x60 2x60"},
        {f"postrider_lost_deliveries_total{{{WORKER}}}": "0x120"},
        "2",
        at="90m",
    ),
    # Another process begins to count, with what it finds; or with nothing, long after the other one found something.
    Scene(
        "DeliveriesLost",
        "page",
        {
            f"postrider_lost_deliveries_total{{{WORKER}}}": "0x60 _x60",
            'postrider_lost_deliveries_total{job="postrider-worker",instance="w:9101"}': "_x61 2x60",
        },
        {
            f"postrider_lost_deliveries_total{{{WORKER}}}": "0x10 2x15 _x95",
            'postrider_lost_deliveries_total{job="postrider-worker",instance="w:9101"}': "_x26 0x95",
        },
        "2",
        at="90m",
    ),
    Scene(
        "DeliveriesOverdue",
        "page",
        {f'postrider_oldest_due_seconds{{{WORKER},lane="first"}}': "0x10 90x20"},
        {
            f'postrider_oldest_due_seconds{{{WORKER},lane="first"}}': "0x10 59x20",
            f'postrider_oldest_due_seconds{{{WORKER},lane="replay"}}': "500x30",
        },
        "1m 30s",
        {"lane": "first"},
    ),
    Scene(
        "DeliveriesOverdue",
        "ticket",
        {f'postrider_oldest_due_seconds{{{WORKER},lane="retry"}}': "0x10 1200x20"},
        {f'postrider_oldest_due_seconds{{{WORKER},lane="retry"}}': "590x30"},
        "20m 0s",
        {"lane": "retry"},
    ),
    Scene(
        "AttemptsGetNoAnswer",
        "page",
        {
            f'postrider_attempts_total{{{WORKER},lane="first",result="timeout"}}': "0+300x30",
            f'postrider_attempts_total{{{WORKER},lane="first",result="2xx"}}': "0+100x30",
        },
        {
            f'postrider_attempts_total{{{WORKER},lane="first",result="5xx"}}': "0+300x30",
            f'postrider_attempts_total{{{WORKER},lane="first",result="blocked_address"}}': "0+300x30",
            f'postrider_attempts_total{{{WORKER},lane="first",result="timeout"}}': "0+100x30",
        },
        "75%",
    ),
    Scene(
        "FiguresMissing",
        "ticket",
        {
            f'postrider_figures_timestamp_seconds{{{WORKER},figure="due"}}': "0+60x15 900x15",
            f'postrider_figures_timestamp_seconds{{{WORKER},figure="lost"}}': "0+60x30",
        },
        {
            f'postrider_figures_timestamp_seconds{{{WORKER},figure="due"}}': "0+60x26 1560x4",
            f'postrider_figures_timestamp_seconds{{{WORKER},figure="lost"}}': "0+60x30",
        },
        labels={"figure": "due"},
    ),
    Scene(
        "MailWaits",
        "ticket",
        {f"postrider_oldest_mail_seconds{{{WORKER}}}": "0x10 1000x20"},
        {f"postrider_oldest_mail_seconds{{{WORKER}}}": "899x30"},
        "16m 40s",
    ),
    Scene(
        "BackgroundTasksWait",
        "ticket",
        {f"postrider_oldest_background_task_seconds{{{WORKER}}}": "1000x30"},
        {f"postrider_oldest_background_task_seconds{{{WORKER}}}": "899x30"},
        "16m 40s",
    ),
)

CAUSE_SCENES = (
    Scene(
        "BacklogGrows",
        "ticket",
        {
            f'postrider_sendable_deliveries{{{WORKER},lane="first"}}': "0+60x60",
            f'postrider_sendable_deliveries{{{WORKER},lane="retry"}}': "0+40x60",
        },
        {
            f'postrider_sendable_deliveries{{{WORKER},lane="first"}}': "4000-50x60",
            f'postrider_sendable_deliveries{{{WORKER},lane="retry"}}': "2000x60",
        },
        "6k",
        at="1h",
    ),
    Scene(
        "BacklogGrows",
        "ticket",
        {f'postrider_sendable_deliveries{{{WORKER},lane="first"}}': "100000x60"},
        {f'postrider_sendable_deliveries{{{WORKER},lane="first"}}': "99999x60"},
        "100k",
        at="1h",
    ),
    Scene(
        "BreakersSurge",
        "ticket",
        {'postrider_breakers{state="open"}': "30x30", 'postrider_endpoints{state="enabled"}': "100x30"},
        {'postrider_breakers{state="open"}': "15x30", 'postrider_endpoints{state="enabled"}': "100x30"},
        "30",
    ),
    Scene(
        "LeasesExpire",
        "ticket",
        {
            f"postrider_leases_expired_total{{{WORKER}}}": "0+5x90",
            f'postrider_attempts_total{{{WORKER},lane="first",result="2xx"}}': "0+100x90",
        },
        # One process was killed with all that it had in flight, among many.
        {
            f"postrider_leases_expired_total{{{WORKER}}}": "0x60 512x30",
            f'postrider_attempts_total{{{WORKER},lane="first",result="2xx"}}': "0+6000x90",
        },
        "5%",
        at="90m",
    ),
    Scene(
        "ZombieResults",
        "ticket",
        {f"postrider_zombie_results_total{{{WORKER}}}": "0+1x60"},
        {f"postrider_zombie_results_total{{{WORKER}}}": "0x40 8x20"},
        "30",
        at="1h",
    ),
    Scene(
        "CyclesFail",
        "ticket",
        {f"postrider_cycle_failures_total{{{WORKER}}}": "0+60x30"},
        {f"postrider_cycle_failures_total{{{WORKER}}}": "0x20 3x10"},
        "1",
    ),
    Scene(
        "LoopStands",
        "ticket",
        {
            f'postrider_heartbeat_timestamp_seconds{{{WORKER},loop="sweeper"}}': "0+60x20 1200x10",
            f'postrider_heartbeat_timestamp_seconds{{{WORKER},loop="engine"}}': "0+60x30",
        },
        {
            f'postrider_heartbeat_timestamp_seconds{{{WORKER},loop="sweeper"}}': "0+60x30",
            'postrider_heartbeat_timestamp_seconds{job="postrider-beat",instance="b:9100",loop="engine"}': "0x30",
            # A process that is gone stands nowhere.
            f'postrider_heartbeat_timestamp_seconds{{{WORKER},loop="engine"}}': "0+60x20 _x10",
        },
        "10m 0s",
        {"job": "postrider-worker", "instance": "w:9100", "loop": "sweeper"},
    ),
    Scene(
        "CommitQueueFull",
        "ticket",
        {f"postrider_commit_waiting_messages{{{API}}}": "0x10 200x20"},
        {f"postrider_commit_waiting_messages{{{API}}}": "0x10 200 0 0x18"},
        "200",
        {"job": "postrider-api", "instance": "a:9100"},
    ),
    Scene(
        "PoolExhausted",
        "ticket",
        {
            f'postrider_pool_connections{{{API},pool="api"}}': "8x30",
            f'postrider_pool_connections_limit{{{API},pool="api"}}': "8x30",
        },
        {
            f'postrider_pool_connections{{{API},pool="api"}}': "7x30",
            f'postrider_pool_connections_limit{{{API},pool="api"}}': "8x30",
            f'postrider_pool_connections{{{API},pool="commits"}}': "1x30",
            f'postrider_pool_connections_limit{{{API},pool="commits"}}': "1x30",
        },
        "100%",
        {"job": "postrider-api", "pool": "api"},
    ),
    Scene(
        "LoopLags",
        "ticket",
        {
            f'postrider_loop_lag_seconds_bucket{{{API},le="0.25"}}': "0+90x30",
            f'postrider_loop_lag_seconds_bucket{{{API},le="0.5"}}': "0+100x30",
            f'postrider_loop_lag_seconds_bucket{{{API},le="+Inf"}}': "0+100x30",
        },
        {
            f'postrider_loop_lag_seconds_bucket{{{API},le="0.25"}}': "0+100x30",
            f'postrider_loop_lag_seconds_bucket{{{API},le="0.5"}}': "0+100x30",
            f'postrider_loop_lag_seconds_bucket{{{API},le="+Inf"}}': "0+100x30",
        },
        "475ms",
        {"job": "postrider-api", "instance": "a:9100"},
    ),
    Scene(
        "RedisAway",
        "ticket",
        {f'postrider_redis_unavailable{{{API},use="limits"}}': "0x20 1x10"},
        {f'postrider_redis_unavailable{{{API},use="limits"}}': "0x27 1 0 0"},
        labels={"use": "limits"},
    ),
    Scene(
        "WakeUpsFail",
        "ticket",
        {
            f'postrider_wake_ups_total{{{API},kind="delivery",outcome="failed"}}': "0+50x30",
            f'postrider_wake_ups_total{{{API},kind="delivery",outcome="sent"}}': "0+50x30",
        },
        {
            f'postrider_wake_ups_total{{{API},kind="delivery",outcome="failed"}}': "0+1x30",
            f'postrider_wake_ups_total{{{API},kind="delivery",outcome="sent"}}': "0+50x30",
        },
        "50%",
    ),
    Scene(
        "TasksFail",
        "ticket",
        {
            f'postrider_tasks_total{{{WORKER},task="retention",outcome="failed"}}': "0 1x59 2x60 3x60",
            f'postrider_tasks_total{{{WORKER},task="signing-keys",outcome="succeeded"}}': "0 1x59 2x60 3x60",
        },
        {f'postrider_tasks_total{{{WORKER},task="retention",outcome="succeeded"}}': "0 1x59 2x60 3x60"},
        "100%",
        {"task": "retention"},
        at="175m",
    ),
    Scene(
        "BeatAbsent",
        "ticket",
        {f"up{{{WORKER}}}": "1x30"},
        {'up{job="postrider-beat",instance="b:9100"}': "1x15 0x8 1x10"},
    ),
    Scene(
        "PartitionsRunOut",
        "ticket",
        {f"postrider_partition_days_ahead{{{WORKER}}}": "1x30"},
        {f"postrider_partition_days_ahead{{{WORKER}}}": "2x30"},
        "1",
    ),
    Scene(
        "PartitionsRunOut",
        "page",
        {f"postrider_partition_days_ahead{{{WORKER}}}": "0x30"},
        {f"postrider_partition_days_ahead{{{WORKER}}}": "1x30"},
    ),
    Scene(
        "TargetsDown",
        "ticket",
        {f"up{{{WORKER}}}": "1x20 0x10"},
        # A port that nobody ever took.
        {f"up{{{WORKER}}}": "1x30", 'up{job="postrider-worker",instance="w:9115"}': "0x30"},
        labels={"job": "postrider-worker", "instance": "w:9100"},
    ),
    Scene(
        "ProcessesRestart",
        "ticket",
        {f"process_start_time_seconds{{{WORKER}}}": "0+60x40"},
        {f"process_start_time_seconds{{{WORKER}}}": "0x10 600x10 1200x20"},
        "30",
        {"job": "postrider-worker"},
        at="40m",
    ),
    Scene(
        "PostgresConnectionsNearLimit",
        "ticket",
        {
            'pg_stat_activity_count{state="idle"}': "60x30",
            'pg_stat_activity_count{state="active"}': "30x30",
            "pg_settings_max_connections": "100x30",
        },
        {'pg_stat_activity_count{state="idle"}': "80x30", "pg_settings_max_connections": "100x30"},
        "90%",
    ),
    Scene(
        "PostgresTransactionsOld",
        "ticket",
        {'pg_stat_activity_max_tx_duration{state="idle in transaction"}': "0+60x30"},
        {'pg_stat_activity_max_tx_duration{state="active"}': "0+60x14 0+60x14"},
        "30m 0s",
    ),
    Scene(
        "TelemetryDropped",
        "ticket",
        {f'postrider_telemetry_dropped_total{{{API},signal="spans"}}': "0+10x60"},
        {f'postrider_telemetry_dropped_total{{{API},signal="spans"}}': "0x40 60x20"},
        "150",
        {"signal": "spans"},
        at="1h",
    ),
)

SECURITY_SCENES = (
    Scene(
        "SignInsAttacked",
        "ticket",
        {
            f'postrider_sign_ins_total{{{API},method="password",outcome="failed"}}': "0+20x30",
            f'postrider_sign_ins_total{{{API},method="password",outcome="signed_in"}}': "0+1x30",
        },
        # A busy morning: many mistype, and most come in.
        {
            f'postrider_sign_ins_total{{{API},method="password",outcome="failed"}}': "0+20x30",
            f'postrider_sign_ins_total{{{API},method="password",outcome="stepped_up"}}': "0+40x30",
        },
        "300",
    ),
    Scene(
        "RefusalsSurge",
        "ticket",
        {
            f'postrider_refusals_total{{{API},status="401"}}': "0+100x30",
            f'postrider_http_requests_total{{{API},status="202"}}': "0+100x30",
        },
        {
            f'postrider_refusals_total{{{API},status="401"}}': "0+100x30",
            f'postrider_http_requests_total{{{API},status="202"}}': "0+1000x30",
        },
        "1.5k",
    ),
    Scene(
        "EgressBlocked",
        "ticket",
        {f"postrider_egress_blocked_total{{{WORKER}}}": "0+10x30"},
        {f"postrider_egress_blocked_total{{{WORKER}}}": "0+1x30"},
        "150",
    ),
    Scene(
        "AuditUnsealed",
        "ticket",
        {f"postrider_unsealed_audit_seconds{{{WORKER}}}": "0+60x30"},
        {f"postrider_unsealed_audit_seconds{{{WORKER}}}": "10x30"},
        "30m 0s",
    ),
)

# A Prometheus that is hours old has seen no day.
YOUNG_SCENES = tuple(
    replace(one, silent=one.fires, silent_at={"3": "11h", "1": "35h"}[one.labels["burn"]])
    for one in BURN_SCENES
    if one.alert == "ApiFails" and one.severity == "ticket"
)

SCENES = (*BURN_SCENES, *YOUNG_SCENES, *SYMPTOM_SCENES, *CAUSE_SCENES, *SECURITY_SCENES)
