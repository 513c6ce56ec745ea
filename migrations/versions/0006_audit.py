"""The audit log: events that nobody changes, the chain over them, and the addresses that keys were used from."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import protect

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

READ = "SELECT"
# When an event happened is for the database to say.
WRITTEN = (
    *("organisation_id", "id", "action", "outcome", "actor_kind", "actor_id", "actor_label"),
    *("target_kind", "target_id", "target_label", "ip", "user_agent", "request_id", "count", "details"),
)
ADD_EVENTS = f"SELECT, INSERT ({', '.join(WRITTEN)})"
ADD = "SELECT, INSERT"
KEPT = ("audit_events", "audit_chain", "audit_seals")

# Grants keep the other roles from it; this stops the owner's slips too.
REFUSE_CHANGES = """
CREATE FUNCTION refuse_audit_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of %: the audit log is only added to', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$
"""
QUEUE_EVENT = """
CREATE FUNCTION queue_audit_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, {schema}, pg_temp AS $$
BEGIN
    INSERT INTO audit_unsealed (organisation_id, event_id) VALUES (NEW.organisation_id, NEW.id);
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    """Makes the tables; the two functions come with the triggers that call them."""
    _events()
    _chain()
    protect("audit_events", api=ADD_EVENTS, worker=ADD_EVENTS)
    protect("audit_unsealed", api=READ, worker="SELECT, DELETE")
    protect("audit_chain", api=READ, worker=ADD)
    protect("audit_seals", api=READ, worker=ADD)
    protect("api_key_addresses", api=ADD)
    _triggers()


def _events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("actor_label", sa.Text(), nullable=False),
        sa.Column("target_kind", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("target_label", sa.Text(), nullable=False),
        sa.Column("ip", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_audit_events")),
    )
    for column in ("action", "actor_id", "target_id"):
        name = f"ix_audit_events_{column.removesuffix('_id')}"
        op.create_index(name, "audit_events", ["organisation_id", column, "id"])


def _chain() -> None:
    op.create_table(
        "audit_unsealed",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "event_id", name=op.f("pk_audit_unsealed")),
    )
    op.create_table(
        "audit_chain",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "sequence", name=op.f("pk_audit_chain")),
        sa.UniqueConstraint("organisation_id", "event_id", name="uq_audit_chain_event"),
    )
    op.create_table(
        "audit_seals",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("first_sequence", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "number", name=op.f("pk_audit_seals")),
    )
    op.create_table(
        "api_key_addresses",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "key_id", "address", name=op.f("pk_api_key_addresses")),
    )


def _triggers() -> None:
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    for body in (REFUSE_CHANGES, QUEUE_EVENT):
        op.get_bind().exec_driver_sql(body.replace("{schema}", schema).replace("%", "%%"))
    op.execute("REVOKE ALL ON FUNCTION queue_audit_event() FROM PUBLIC")
    for table in KEPT:
        op.execute(
            f"CREATE TRIGGER refuse_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_changes()"
        )
    op.execute(
        "CREATE TRIGGER queue_event AFTER INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION queue_audit_event()"
    )


def downgrade() -> None:
    """Drops the audit log."""
    for table in (*KEPT, "audit_unsealed", "api_key_addresses"):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_audit_changes()")
    op.execute("DROP FUNCTION queue_audit_event()")
