"""PostgreSQL and Redis, as we feel them and as they say themselves."""

from app.cli.observe.dashboards.panels import WINDOW, Dashboard, Panel, Query, Row, gauge, rate, share

_OURS = 'datname!~"template.*|postgres"'

_FELT = Row(
    "As we feel them",
    (
        Panel(
            "Pools of connections",
            "In use, of as many as there may be; the fullest process of each pool.",
            (
                Query(
                    "max by (job, pool) (postrider_pool_connections / postrider_pool_connections_limit)",
                    "{{job}} {{pool}}",
                ),
            ),
            unit="percentunit",
            limit=0.9,
        ),
        Panel(
            "Duration of group commits",
            "99 of 100 within.",
            (
                Query(
                    f"histogram_quantile(0.99, sum by (le) (rate(postrider_commit_seconds_bucket[{WINDOW}])))", "API"
                ),
                Query(
                    f"histogram_quantile(0.99, sum by (le) (rate(postrider_claim_seconds_bucket[{WINDOW}])))", "workers"
                ),
            ),
            unit="s",
        ),
        Panel(
            "Redis does not answer",
            "1 for each use in a process that goes on without it.",
            (Query(gauge("postrider_redis_unavailable", "use"), "{{use}}"),),
            fault="Redis is gone",
            limit=1,
        ),
        Panel(
            "Cache",
            "The share of questions to which it knew the answer.",
            (
                Query(
                    share("postrider_cache_requests_total", 'outcome="hit"', "cache"),
                    "{{cache}}",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "Partitions ahead",
            "Days for which new messages have a place. Below 1 nothing is accepted from midnight on.",
            (Query(gauge("postrider_partition_days_ahead", how="min"), "days"),),
        ),
    ),
)

_POSTGRES = Row(
    "PostgreSQL",
    (
        Panel("PostgreSQL answers", "1 if it does.", (Query("pg_up"),), kind="stat", source="exporter"),
        Panel(
            "Connections",
            "Of as many as there may be.",
            (Query("sum(pg_stat_activity_count) / max(pg_settings_max_connections)"),),
            unit="percentunit",
            kind="stat",
            limit=0.85,
            source="exporter",
        ),
        Panel(
            "Size",
            "Of our database.",
            (Query(f"sum(pg_database_size_bytes{{{_OURS}}})"),),
            unit="bytes",
            kind="stat",
            source="exporter",
        ),
        Panel(
            "Transactions",
            "A second.",
            (
                Query(rate("pg_stat_database_xact_commit", labels=_OURS), "committed"),
                Query(rate("pg_stat_database_xact_rollback", labels=_OURS), "rolled back"),
            ),
            unit="ops",
            source="exporter",
        ),
        Panel(
            "Connections by state",
            "What idles in a transaction keeps others from clearing up.",
            (Query("sum by (state) (pg_stat_activity_count)", "{{state}}"),),
            source="exporter",
        ),
        Panel(
            "Oldest transaction",
            "A long one makes claims slow, since nothing that ended can be cleared away.",
            (Query("max(pg_stat_activity_max_tx_duration)", "age"),),
            unit="s",
            limit=900,
            source="exporter",
        ),
        Panel(
            "Rows",
            "Written a second.",
            tuple(
                Query(rate(f"pg_stat_database_tup_{kind}", labels=_OURS), kind)
                for kind in ("inserted", "updated", "deleted")
            ),
            unit="ops",
            source="exporter",
        ),
        Panel(
            "Read from memory",
            "The share of blocks that needed no disk.",
            (
                Query(
                    f"{rate('pg_stat_database_blks_hit', labels=_OURS)}"
                    f" / ({rate('pg_stat_database_blks_hit', labels=_OURS)}"
                    f" + {rate('pg_stat_database_blks_read', labels=_OURS)} > 0)",
                    "from memory",
                ),
            ),
            unit="percentunit",
            source="exporter",
        ),
        Panel(
            "Locks and deadlocks",
            "Locks held, and deadlocks a second.",
            (
                Query(f"sum by (mode) (pg_locks_count{{{_OURS}}}) > 0", "{{mode}}"),
                Query(rate("pg_stat_database_deadlocks", labels=_OURS), "deadlocks"),
            ),
            source="exporter",
        ),
    ),
)

_REDIS = Row(
    "Redis",
    (
        Panel("Redis answers", "1 if it does.", (Query("redis_up"),), kind="stat", source="exporter"),
        Panel(
            "Clients",
            "That are connected.",
            (Query("redis_connected_clients"),),
            kind="stat",
            source="exporter",
        ),
        Panel(
            "Evicted",
            "Keys that had to go for want of memory, within an hour: the broker's must not.",
            (Query("increase(redis_evicted_keys_total[1h])"),),
            kind="stat",
            limit=1,
            source="exporter",
        ),
        Panel(
            "Commands",
            "A second, the ten most frequent.",
            (Query(f"topk(10, {rate('redis_commands_total', 'cmd')})", "{{cmd}}"),),
            unit="ops",
            source="exporter",
        ),
        Panel(
            "Duration of commands",
            "Mean.",
            (
                Query(
                    f"{rate('redis_commands_duration_seconds_total')} / ({rate('redis_commands_processed_total')} > 0)",
                    "all",
                ),
            ),
            unit="s",
            source="exporter",
        ),
        Panel(
            "Memory",
            "In use, and as much as there may be (0: no limit).",
            (Query("redis_memory_used_bytes", "in use"), Query("redis_memory_max_bytes", "limit")),
            unit="bytes",
            source="exporter",
        ),
    ),
)

STORES = Dashboard(
    "postrider-stores",
    "Postrider: PostgreSQL and Redis",
    "As we feel them, and as they say themselves through Debian's exporters.",
    (_FELT, _POSTGRES, _REDIS),
)
