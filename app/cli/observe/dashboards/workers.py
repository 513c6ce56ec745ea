"""Whether workers turn, how full they are, and what queues and tasks do."""

from app.cli.observe.dashboards.panels import Dashboard, Panel, Query, Row, gauge, mean, quantiles, rate

_LOOPS = Row(
    "Processes",
    (
        Panel(
            "Since a loop last turned",
            "By loop and process. Above a minute it stands.",
            (Query("time() - (postrider_heartbeat_timestamp_seconds > 0)", "{{loop}} {{instance}}"),),
            unit="s",
            limit=60,
        ),
        Panel(
            "Being sent",
            "Deliveries in flight, by lane.",
            (Query(gauge("postrider_deliveries_in_flight", "lane"), "{{lane}}"),),
        ),
        Panel(
            "How full",
            "Deliveries in flight, of as many as may be.",
            (Query("sum(postrider_deliveries_in_flight) / sum(postrider_deliveries_in_flight_limit)", "in flight"),),
            unit="percentunit",
            limit=0.9,
        ),
        Panel(
            "Starts",
            "When each process began: a new line here was a start.",
            (Query('time() - process_start_time_seconds{job=~"postrider.*"}', "{{job}} {{instance}}"),),
            unit="s",
        ),
        Panel(
            "Processor time of workers",
            "Cores, by process.",
            (Query(rate("process_cpu_seconds_total", "instance", 'job="postrider-worker"'), "{{instance}}"),),
        ),
        Panel(
            "Age of the cluster's figures",
            "One process counts what is due; another takes over when it is gone. What takes long is read less often.",
            (Query("time() - max by (figure) (postrider_figures_timestamp_seconds)", "{{figure}}"),),
            unit="s",
            limit=300,
        ),
    ),
)

_ENGINE = Row(
    "The engine",
    (
        Panel("Claimed at once", "Deliveries in a claim.", quantiles("postrider_claim_batch_deliveries")),
        Panel("Duration of a cycle", "Its transaction.", quantiles("postrider_claim_seconds"), "s"),
        Panel(
            "What goes wrong",
            "A second: leases that ran out, results that came too late, cycles that failed.",
            (
                Query(rate("postrider_leases_expired_total"), "leases expired"),
                Query(rate("postrider_zombie_results_total"), "zombies fenced"),
                Query(rate("postrider_cycle_failures_total"), "cycles failed"),
            ),
            unit="ops",
        ),
        Panel(
            "Wake-ups",
            "By kind and outcome, a second.",
            (Query(rate("postrider_wake_ups_total", "kind, outcome"), "{{kind}} {{outcome}}"),),
            unit="ops",
        ),
    ),
)

_TASKS = Row(
    "Queues and tasks",
    (
        Panel(
            "Tasks by outcome",
            "A second.",
            (Query(rate("postrider_tasks_total", "task, outcome"), "{{task}} {{outcome}}"),),
            unit="ops",
        ),
        Panel(
            "Duration of tasks",
            "Mean, by name.",
            (
                Query(
                    mean("postrider_task_seconds", "task"),
                    "{{task}}",
                ),
            ),
            unit="s",
        ),
        Panel("From sending a task to its begin", "All tasks.", quantiles("postrider_task_delay_seconds"), "s"),
        Panel(
            "What waits",
            "Mails and background tasks that somebody asked for.",
            (
                Query(gauge("postrider_mails_waiting", how="max"), "mails"),
                Query(gauge("postrider_background_tasks_waiting", how="max"), "background tasks"),
            ),
        ),
        Panel(
            "For how long",
            "The oldest of them.",
            (
                Query(gauge("postrider_oldest_mail_seconds", how="max"), "mail"),
                Query(gauge("postrider_oldest_background_task_seconds", how="max"), "background task"),
            ),
            unit="s",
            limit=900,
        ),
        Panel(
            "Mails by outcome",
            "A second.",
            (Query(rate("postrider_mails_total", "outcome"), "{{outcome}}"),),
            unit="ops",
        ),
    ),
)

_TOLD = Row(
    "What could not be told",
    (
        Panel(
            "Dropped",
            "Log lines, spans and reports a second that found no way out.",
            (Query(rate("postrider_telemetry_dropped_total", "signal"), "{{signal}}"),),
            unit="ops",
            width=12,
            fault="the collector fails",
        ),
        Panel(
            "Log lines that sampling left out",
            "A second, by event.",
            (Query(rate("postrider_log_lines_left_out_total", "event"), "{{event}}"),),
            unit="ops",
            width=12,
            fault="more is asked than is written down",
        ),
    ),
)

_PODS = Row(
    "Pods",
    (
        Panel(
            "Processor time held back by limits",
            "The share of periods in which a container waited for its turn.",
            (
                Query(
                    'sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{pod=~"postrider.*"}[5m]))'
                    ' / sum by (pod) (rate(container_cpu_cfs_periods_total{pod=~"postrider.*"}[5m]))',
                    "{{pod}}",
                ),
            ),
            unit="percentunit",
            source="kubernetes",
        ),
        Panel(
            "Restarts",
            "Of containers, within an hour.",
            (
                Query(
                    'sum by (pod) (increase(kube_pod_container_status_restarts_total{pod=~"postrider.*"}[1h]))',
                    "{{pod}}",
                ),
            ),
            source="kubernetes",
        ),
        Panel(
            "Replicas that the autoscaler wants",
            "And those that there are.",
            (
                Query(
                    'kube_horizontalpodautoscaler_status_desired_replicas{horizontalpodautoscaler=~"postrider.*"}',
                    "{{horizontalpodautoscaler}} wanted",
                ),
                Query(
                    'kube_horizontalpodautoscaler_status_current_replicas{horizontalpodautoscaler=~"postrider.*"}',
                    "{{horizontalpodautoscaler}} there",
                ),
            ),
            source="kubernetes",
        ),
    ),
)

WORKERS = Dashboard(
    "postrider-workers",
    "Postrider: workers and queues",
    "Do workers turn, how full are they, and what do queues and tasks do?",
    (_LOOPS, _ENGINE, _TASKS, _TOLD, _PODS),
)
