"""The first tables: tenants, applications, endpoints, messages and their deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import protect, roles

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ALL = "SELECT, INSERT, UPDATE, DELETE"
API_RIGHTS = {
    "api_keys": "SELECT",
    "revoked_portal_tokens": "SELECT, INSERT",
    "applications": "SELECT, INSERT, UPDATE",
    "event_types": ALL,
    "endpoints": "SELECT, INSERT, UPDATE",
    "endpoint_secrets": ALL,
    "endpoint_health": ALL,
    "endpoint_rates": "SELECT",
    "endpoint_gates": ALL,
    "application_rates": ALL,
    "messages": "SELECT, INSERT, UPDATE (payload_expunged_at)",
    "payloads": "SELECT, INSERT, DELETE",
    "message_event_ids": "SELECT, INSERT",
    "idempotency_keys": "SELECT, INSERT, DELETE, UPDATE (body_digest, status, response, created_at)",
    "due_deliveries": ALL,
    "deliveries": "SELECT, INSERT, DELETE",
    "attempts": "SELECT, UPDATE (response, response_expunged)",
    "delivery_actions": "SELECT, INSERT",
    "background_tasks": "SELECT, INSERT",
}
HASHED = {"message_event_ids": 8, "idempotency_keys": 8}

FIND_API_KEY = """
CREATE FUNCTION find_api_key(wanted bytea)
RETURNS TABLE (organisation_id uuid, id uuid) LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.organisation_id, k.id FROM {schema}.api_keys k
    JOIN {schema}.organisations o ON o.id = k.organisation_id
    WHERE k.digest = wanted AND k.revoked_at IS NULL AND o.deleted_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > now())
$$
"""

# A partition is attached rather than created in place: attaching takes a lock that readers and writers do not feel.
ENSURE_PARTITIONS = """
CREATE FUNCTION ensure_partitions(days date[], expiries date[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $$
DECLARE
    wanted record;
BEGIN
    PERFORM pg_advisory_xact_lock(1886352244, 1);
    FOR wanted IN
        SELECT parent, day, format('%I', parent || '_p' || to_char(day, 'YYYYMMDD')) AS child
        FROM (
            SELECT unnest(ARRAY['messages', 'deliveries', 'attempts']) AS parent, day FROM unnest(days) AS day
            UNION
            SELECT 'payloads', day FROM unnest(expiries) AS day
        ) AS each_day
    LOOP
        CONTINUE WHEN to_regclass('{schema}.' || wanted.child) IS NOT NULL;
        EXECUTE format('CREATE TABLE {schema}.%s (LIKE {schema}.%I INCLUDING ALL)', wanted.child, wanted.parent);
        EXECUTE format('ALTER TABLE {schema}.%s ENABLE ROW LEVEL SECURITY', wanted.child);
        EXECUTE format('ALTER TABLE {schema}.%s FORCE ROW LEVEL SECURITY', wanted.child);
        IF wanted.parent = 'payloads' THEN
            EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%s FOR VALUES FROM (%L) TO (%L)',
                wanted.parent, wanted.child, wanted.day, wanted.day + 1);
        ELSE
            EXECUTE format('ALTER TABLE {schema}.%I ATTACH PARTITION {schema}.%s FOR VALUES FROM (%L) TO (%L)',
                wanted.parent, wanted.child, first_id(wanted.day), first_id(wanted.day + 1));
        END IF;
    END LOOP;
END
$$
"""

# Ids are UUIDv7: their first 48 bits are milliseconds since 1970.
FIRST_ID = """
CREATE FUNCTION first_id(day date) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM day::timestamp) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$
"""

DROP_PARTITION = """
CREATE FUNCTION drop_partition(parent text, day date)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $$
DECLARE
    child text := parent || '_p' || to_char(day, 'YYYYMMDD');
BEGIN
    IF parent NOT IN ('messages', 'deliveries', 'attempts', 'payloads') THEN
        RAISE EXCEPTION 'not a table with partitions by day: %', parent;
    END IF;
    SET LOCAL lock_timeout = '2s';
    PERFORM pg_advisory_xact_lock(1886352244, 2); -- who drops the same one at the same time comes first or later
    IF to_regclass('{schema}.' || quote_ident(child)) IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE {schema}.%I', child);
    RETURN true;
END
$$
"""


def _functions() -> None:
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    for body in (FIRST_ID, FIND_API_KEY, ENSURE_PARTITIONS, DROP_PARTITION):
        op.get_bind().exec_driver_sql(body.replace("{schema}", schema).replace("%", "%%"))
    who = roles()
    for signature in (
        "find_api_key(bytea)",
        "ensure_partitions(date[], date[])",
        "drop_partition(text, date)",
    ):
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute(f'GRANT EXECUTE ON FUNCTION find_api_key(bytea) TO "{who.api}"')
    op.execute(f'GRANT EXECUTE ON FUNCTION ensure_partitions(date[], date[]) TO "{who.api}", "{who.worker}"')
    op.execute(f'GRANT EXECUTE ON FUNCTION drop_partition(text, date) TO "{who.worker}"')


def _hash_partitions(table: str, count: int) -> None:
    for part in range(count):
        op.execute(
            f"CREATE TABLE {table}_h{part} PARTITION OF {table} FOR VALUES WITH (MODULUS {count}, REMAINDER {part})"
        )
        op.execute(f"ALTER TABLE {table}_h{part} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table}_h{part} FORCE ROW LEVEL SECURITY")


def upgrade() -> None:
    """Makes every table, protects it, and makes the first partitions."""
    _tables()
    for table, count in HASHED.items():
        _hash_partitions(table, count)
    protect("organisations", api="SELECT, UPDATE", tenant="id")
    for table, rights in API_RIGHTS.items():
        protect(table, api=rights)
    _functions()
    op.execute(
        "SELECT ensure_partitions(array_agg(day), array_agg(day + 90))"
        " FROM (SELECT (now() AT TIME ZONE 'utc')::date + d AS day FROM generate_series(-1, 3) AS d) AS days"
    )


def _tables() -> None:
    op.create_table(
        "application_rates",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("rate_tat", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organisation_id", "application_id", name=op.f("pk_application_rates")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "attempts",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("trigger", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("response_status", sa.SmallInteger(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("response_expunged", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_attempts")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_attempts_endpoint", "attempts", ["organisation_id", "endpoint_id", "id"], unique=False)
    op.create_index("ix_attempts_message", "attempts", ["organisation_id", "message_id", "id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "endpoint_id", "message_id", name=op.f("pk_deliveries")),
        postgresql_partition_by="RANGE (message_id)",
    )
    op.create_index("ix_deliveries_message", "deliveries", ["organisation_id", "message_id"], unique=False)
    op.create_index(
        "ix_deliveries_unsuccessful",
        "deliveries",
        ["organisation_id", "endpoint_id", "message_id"],
        unique=False,
        postgresql_where="status <> 0",
    )
    op.create_table(
        "delivery_actions",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_delivery_actions")),
    )
    op.create_index("ix_delivery_actions_message", "delivery_actions", ["organisation_id", "message_id"], unique=False)
    op.create_index(
        "ix_delivery_actions_created", "delivery_actions", ["created_at"], unique=False, postgresql_using="brin"
    )
    op.create_table(
        "due_deliveries",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("trigger", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("failures", sa.SmallInteger(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "organisation_id", "endpoint_id", "message_id", "trigger", name=op.f("pk_due_deliveries")
        ),
        postgresql_with={
            "fillfactor": "60",
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_vacuum_cost_delay": "0",
        },
    )
    op.create_index(
        "ix_due_deliveries_claim",
        "due_deliveries",
        ["lane", "due_at"],
        unique=False,
        postgresql_where="state + 0 <> 2",
    )
    op.create_index(
        "ix_due_deliveries_held",
        "due_deliveries",
        ["endpoint_id", "lane", "due_at"],
        unique=False,
        postgresql_where="state = 2",
    )
    op.create_index(
        "ix_due_deliveries_message",
        "due_deliveries",
        ["organisation_id", "message_id", "endpoint_id"],
        unique=False,
    )
    op.create_index(
        "ix_due_deliveries_sending",
        "due_deliveries",
        ["endpoint_id"],
        unique=False,
        postgresql_where="state = 1",
    )
    op.create_table(
        "endpoint_gates",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("lane", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "endpoint_id", "lane", name=op.f("pk_endpoint_gates")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index("ix_endpoint_gates_next", "endpoint_gates", ["next_at"], unique=False)
    op.create_table(
        "endpoint_health",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("consecutive_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("opened_times", sa.Integer(), server_default="0", nullable=False),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probing", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("slow_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fail_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organisation_id", "endpoint_id", name=op.f("pk_endpoint_health")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "endpoint_rates",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("rate_tat", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organisation_id", "endpoint_id", name=op.f("pk_endpoint_rates")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("body_digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "key", name=op.f("pk_idempotency_keys")),
        postgresql_partition_by="HASH (key)",
    )
    op.create_index("ix_idempotency_keys_created", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "message_event_ids",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "application_id", "event_id", name=op.f("pk_message_event_ids")),
        postgresql_partition_by="HASH (application_id)",
    )
    op.create_index(
        "ix_message_event_ids_created", "message_event_ids", ["created_at"], unique=False, postgresql_using="brin"
    )
    op.create_table(
        "messages",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("channels", postgresql.JSONB(), nullable=True),
        sa.Column("tags", postgresql.JSONB(), nullable=True),
        sa.Column("deliver_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload_expunged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fan_out", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_messages")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_messages_application", "messages", ["organisation_id", "application_id", "id"], unique=False)
    op.create_table(
        "organisations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("retry_schedule", sa.ARRAY(sa.Integer()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
    )
    op.create_table(
        "payloads",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "message_id", "expires_on", name=op.f("pk_payloads")),
        postgresql_partition_by="RANGE (expires_on)",
    )
    op.create_table(
        "api_keys",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_api_keys_organisations")),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_digest"), "api_keys", ["digest"], unique=True)
    op.create_table(
        "applications",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="tenant", nullable=False),
        sa.Column("uid", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(), nullable=False),
        sa.Column("throttle_rate", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('tenant', 'operational')", name=op.f("ck_applications_kind")),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_applications_organisations")),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_applications")),
    )
    op.create_index(
        "uq_applications_operational",
        "applications",
        ["organisation_id"],
        unique=True,
        postgresql_where="kind = 'operational'",
    )
    op.create_index(
        "uq_applications_uid",
        "applications",
        ["organisation_id", "uid"],
        unique=True,
        postgresql_where="deleted_at IS NULL",
    )
    op.create_table(
        "background_tasks",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("progress", postgresql.JSONB(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_background_tasks_organisations")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_background_tasks")),
    )
    op.create_index(
        "ix_background_tasks_due",
        "background_tasks",
        ["due_at"],
        unique=False,
        postgresql_where="status = 'running'",
    )
    op.create_table(
        "event_types",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("deprecated", sa.Boolean(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("feature_flags", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("schemas", postgresql.JSONB(), nullable=True),
        sa.Column("retry_schedule", sa.ARRAY(sa.Integer()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_event_types_organisations")),
        sa.PrimaryKeyConstraint("organisation_id", "name", name=op.f("pk_event_types")),
    )
    op.create_table(
        "revoked_portal_tokens",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_revoked_portal_tokens_organisations")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "token_id", name=op.f("pk_revoked_portal_tokens")),
    )
    op.create_table(
        "endpoints",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("event_types", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("channels", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("feature_flags", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), nullable=False),
        sa.Column("throttle_rate", sa.Integer(), nullable=True),
        sa.Column("retry_schedule", sa.ARRAY(sa.Integer()), nullable=True),
        sa.Column("headers", sa.LargeBinary(), nullable=True),
        sa.Column("header_style", sa.Text(), server_default="webhook", nullable=False),
        sa.Column("ca_pem", sa.Text(), nullable=True),
        sa.Column("example_tat", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("header_style IN ('webhook', 'svix')", name=op.f("ck_endpoints_header_style")),
        sa.ForeignKeyConstraint(
            ["organisation_id", "application_id"],
            ["applications.organisation_id", "applications.id"],
            name=op.f("fk_endpoints_applications"),
        ),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_endpoints_organisations")),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_endpoints")),
    )
    op.create_index("ix_endpoints_application", "endpoints", ["organisation_id", "application_id", "id"], unique=False)
    op.create_index(
        "uq_endpoints_uid",
        "endpoints",
        ["organisation_id", "application_id", "uid"],
        unique=True,
        postgresql_where="deleted_at IS NULL",
    )
    op.create_table(
        "endpoint_secrets",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id", "endpoint_id"],
            ["endpoints.organisation_id", "endpoints.id"],
            name=op.f("fk_endpoint_secrets_endpoints"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_endpoint_secrets_organisations")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "endpoint_id", "id", name=op.f("pk_endpoint_secrets")),
    )


def downgrade() -> None:
    """Drops everything."""
    op.execute("DROP FUNCTION find_api_key(bytea)")
    op.execute("DROP FUNCTION ensure_partitions(date[], date[])")
    op.execute("DROP FUNCTION drop_partition(text, date)")
    op.execute("DROP FUNCTION first_id(date)")
    op.drop_table("endpoint_secrets")
    op.drop_table("endpoints")
    op.drop_table("revoked_portal_tokens")
    op.drop_table("event_types")
    op.drop_table("background_tasks")
    op.drop_table("applications")
    op.drop_table("api_keys")
    op.drop_table("payloads")
    op.drop_table("organisations")
    op.drop_table("messages")
    op.drop_table("message_event_ids")
    op.drop_table("idempotency_keys")
    op.drop_table("endpoint_health")
    op.drop_table("endpoint_rates")
    op.drop_table("endpoint_gates")
    op.drop_table("due_deliveries")
    op.drop_table("delivery_actions")
    op.drop_table("deliveries")
    op.drop_table("attempts")
    op.drop_table("application_rates")
