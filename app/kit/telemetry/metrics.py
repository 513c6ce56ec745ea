"""Every metric that Postrider's processes export, by name; who measures imports it from here.

Each process has a registry and a scrape target of its own. No label names a tenant: their values are few and known
beforehand. Times are seconds.
"""

from prometheus_client import Counter, Gauge, Histogram

from app.kit.telemetry.trace_context import Carried, is_sampled, trace_id

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PATIENT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0, 21600.0, 86400.0)
Exemplar = dict[str, str] | None
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

HTTP_REQUESTS = Counter(
    "postrider_http_requests", "Requests that were answered, by their route's template.", ("method", "route", "status")
)
HTTP_SECONDS = Histogram(
    "postrider_http_request_seconds",
    "From a request's head to the end of its answer, less what its body was waited for.",
    ("method", "route"),
    buckets=_FAST,
)
HTTP_IN_FLIGHT = Gauge("postrider_http_requests_in_flight", "Requests that are being answered.")
RATE_LIMIT_REFUSALS = Counter(
    "postrider_rate_limit_refusals", "Requests beyond a rate limit.", ("route_class", "identity")
)

MESSAGES = Counter(
    "postrider_messages",
    "Messages that asked to come in: accepted, repeated (under an idempotency key), refused, or failed.",
    ("outcome",),
)
ACCEPT_SECONDS = Histogram(
    "postrider_accept_seconds", "From a message's admission until it was durable.", buckets=_FAST
)
COMMIT_BATCH = Histogram("postrider_commit_batch_messages", "Messages that one commit stored.", buckets=_COUNTS)
COMMIT_SECONDS = Histogram("postrider_commit_seconds", "How long a group commit took.", buckets=_FAST)
COMMIT_WAITING = Gauge("postrider_commit_waiting_messages", "Messages that wait for a group commit.")

PICKUP_SECONDS = Histogram(
    "postrider_pickup_seconds", "From when a delivery was due until it was claimed.", ("lane",), buckets=_PATIENT
)
CLAIM_BATCH = Histogram("postrider_claim_batch_deliveries", "Deliveries that one claim took.", buckets=_COUNTS)
CLAIM_SECONDS = Histogram("postrider_claim_seconds", "How long a cycle's transaction took.", buckets=_FAST)
IN_FLIGHT = Gauge("postrider_deliveries_in_flight", "Deliveries that this process is sending.", ("lane",))
IN_FLIGHT_LIMIT = Gauge("postrider_deliveries_in_flight_limit", "How many this process sends at once.")
ATTEMPTS = Counter(
    "postrider_attempts",
    "Attempts by what came of them: 2xx, 3xx, 4xx, 5xx, or why there was no answer.",
    ("lane", "result"),
)
ATTEMPT_SECONDS = Histogram("postrider_attempt_seconds", "How long an attempt took.", ("lane",), buckets=_PATIENT)
DELIVERIES = Counter("postrider_deliveries", "Deliveries that ended: delivered, exhausted, or canceled.", ("outcome",))
DELIVERY_SECONDS = Histogram(
    "postrider_delivery_seconds",
    "From a message's acceptance, or the time that it was to be sent, until an endpoint took it: first, held (for the "
    "endpoint's sake) or later try.",
    ("tries",),
    buckets=_PATIENT,
)
LEASES_EXPIRED = Counter("postrider_leases_expired", "Deliveries claimed again because their lease had run out.")
ZOMBIES = Counter("postrider_zombie_results", "Results that came after their lease, and were dropped.")
HELD_BACK = Counter("postrider_deliveries_held_back", "Deliveries put behind their endpoint's gate.")
CYCLE_FAILURES = Counter("postrider_cycle_failures", "Cycles of the delivery engine that failed and are tried again.")
HEARTBEAT = Gauge(
    "postrider_heartbeat_timestamp_seconds",
    "When a loop last turned (Unix time): engine, transport, sweeper.",
    ("loop",),
)

POOL_CONNECTIONS = Gauge("postrider_pool_connections", "Database connections in use.", ("pool",))
POOL_LIMIT = Gauge("postrider_pool_connections_limit", "Database connections there may be.", ("pool",))
TASKS = Counter("postrider_tasks", "Celery tasks that ended: succeeded, failed.", ("task", "outcome"))
TASK_SECONDS = Histogram("postrider_task_seconds", "How long a Celery task took.", ("task",), buckets=_PATIENT)
TASK_DELAY_SECONDS = Histogram(
    "postrider_task_delay_seconds", "From the sending of a Celery task until it began.", ("task",), buckets=_PATIENT
)
WAKE_UPS = Counter("postrider_wake_ups", "Wake-ups by kind: sent, or failed.", ("kind", "outcome"))
CACHE = Counter(
    "postrider_cache_requests",
    "Questions to a cache: hit, miss, or unavailable. In Redis are session and access, in each process the others.",
    ("cache", "outcome"),
)
REDIS_AWAY = Gauge("postrider_redis_unavailable", "1 while Redis does not answer this process.", ("use",))
LOOP_LAG = Histogram("postrider_loop_lag_seconds", "How much later than asked the event loop woke.", buckets=_FAST)

SIGN_INS = Counter(
    "postrider_sign_ins", "Sign-ins by how they were tried: signed_in, or why not.", ("method", "outcome")
)
RISK_SIGNALS = Counter("postrider_sign_in_risk_signals", "What spoke against a sign-in.", ("signal",))
REFUSALS = Counter("postrider_refusals", "Requests refused: who it was is unknown, or may not.", ("status",))
HASHES_WAITING = Gauge("postrider_password_hashes_waiting", "Passwords that wait to be hashed.")
EGRESS_BLOCKED = Counter("postrider_egress_blocked", "Sends that an address rule refused.")
MAILS = Counter(
    "postrider_mails", "Tries to send a mail: sent, failed, or refused for ever; and mails given up.", ("outcome",)
)

TELEMETRY_DROPPED = Counter(
    "postrider_telemetry_dropped", "What could not be told: log lines, spans, reports, scrapes.", ("signal",)
)
LOGS_SAMPLED = Counter("postrider_log_lines_left_out", "Lines that sampling left out.", ("event",))
BUILD = Gauge("postrider_build_info", "1, with what this process is: api, worker, beat.", ("revision", "component"))


def exemplar(carried: Carried | None) -> Exemplar:
    """Names a trace beside what was observed in it, if it is recorded."""
    return {"trace_id": trace_id(carried)} if carried is not None and is_sampled(carried) else None
