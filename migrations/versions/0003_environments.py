"""Environments are the tenants, and organisations stand above them, with keys that have roles and several secrets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import TENANTS, protect, roles

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Tables whose tenant is an environment, and whether they refer to it by a foreign key.
TENANT_TABLES = {
    "application_rates": False,
    "applications": True,
    "attempts": False,
    "background_tasks": True,
    "deliveries": False,
    "delivery_actions": False,
    "due_deliveries": False,
    "endpoint_gates": False,
    "endpoint_health": False,
    "endpoint_rates": False,
    "endpoint_secrets": True,
    "endpoints": True,
    "event_types": True,
    "idempotency_keys": False,
    "message_event_ids": False,
    "messages": False,
    "payloads": False,
    "revoked_portal_tokens": True,
}
NOW = sa.text("now()")
NO_NAMES = sa.text("'{}'")

FIND_KEY = """
CREATE FUNCTION {name}
RETURNS TABLE (organisation_id uuid, environment_id uuid, environment text, key_id uuid, secret_id uuid, role text,
    scopes text[], signs boolean, sealed bytea, organisation_allows text[], organisation_denies text[],
    key_allows text[], key_denies text[], ends_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.organisation_id, k.environment_id, e.kind, k.id, s.id, k.role, k.scopes, k.signs, s.sealed,
        o.allowed_networks, o.denied_networks, k.allowed_networks, k.denied_networks,
        least(k.expires_at, s.expires_at, s.created_at + make_interval(days => o.key_days))
    FROM {schema}.api_key_secrets s
    JOIN {schema}.api_keys k ON k.organisation_id = s.organisation_id AND k.id = s.key_id
    JOIN {schema}.organisations o ON o.id = k.organisation_id
    JOIN {schema}.environments e ON e.id = k.environment_id
    WHERE {wanted} AND k.revoked_at IS NULL AND o.deleted_at IS NULL AND o.suspended_at IS NULL
      AND coalesce(least(k.expires_at, s.expires_at, s.created_at + make_interval(days => o.key_days)) > now(), true)
$$
"""
FIND_KEYS = {"find_api_key(wanted bytea)": "s.digest = wanted", "find_signing_key(wanted uuid)": "k.id = wanted"}

FIND_API_KEY_BEFORE = """
CREATE FUNCTION find_api_key(wanted bytea)
RETURNS TABLE (organisation_id uuid, id uuid) LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.organisation_id, k.id FROM {schema}.api_keys k
    JOIN {schema}.organisations o ON o.id = k.organisation_id
    WHERE k.digest = wanted AND k.revoked_at IS NULL AND o.deleted_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > now())
$$
"""


def upgrade() -> None:
    op.execute("DROP FUNCTION find_api_key(bytea)")
    _make_environments()
    _make_organisations()
    _give_keys_secrets()
    for signature, wanted in FIND_KEYS.items():
        _make_finder(FIND_KEY, signature, wanted)
    _make_portal_expiries()


def _make_environments() -> None:
    op.rename_table("organisations", "environments")
    op.execute("ALTER TABLE environments RENAME CONSTRAINT pk_organisations TO pk_environments")
    for table, refers in TENANT_TABLES.items():
        op.alter_column(table, "organisation_id", new_column_name="environment_id")
        if refers:
            old, new = f"fk_{table}_organisations", f"fk_{table}_environments"
            op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}")
    # What was made before is live, whatever its keys are called.
    op.add_column("environments", sa.Column("kind", sa.Text(), server_default="live", nullable=False))
    op.alter_column("environments", "kind", server_default=None)
    op.create_check_constraint(op.f("ck_environments_kind"), "environments", "kind IN ('live', 'test')")


def _make_organisations() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_days", sa.Integer(), nullable=True),
        sa.Column("allowed_networks", sa.ARRAY(sa.Text()), server_default=NO_NAMES, nullable=False),
        sa.Column("denied_networks", sa.ARRAY(sa.Text()), server_default=NO_NAMES, nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("suspended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
    )
    op.execute(
        "INSERT INTO organisations (id, name, created_at, updated_at, deleted_at)"
        " SELECT id, name, created_at, updated_at, deleted_at FROM environments"
    )
    op.add_column("environments", sa.Column("organisation_id", sa.Uuid(), nullable=True))
    op.execute("UPDATE environments SET organisation_id = id")
    op.execute(
        "INSERT INTO environments (id, organisation_id, name, kind, retry_schedule)"
        " SELECT gen_random_uuid(), organisation_id, name, 'test', retry_schedule FROM environments"
    )
    op.alter_column("environments", "organisation_id", nullable=False)
    op.create_foreign_key(
        op.f("fk_environments_organisations"), "environments", "organisations", ["organisation_id"], ["id"]
    )
    op.create_unique_constraint(
        op.f("uq_environments_organisation_id_kind"), "environments", ["organisation_id", "kind"]
    )
    op.drop_column("environments", "name")
    op.drop_column("environments", "deleted_at")
    # Only the operator changes environments; a row must not be given to another organisation.
    op.execute(f'REVOKE UPDATE ON environments FROM "{roles().api}"')
    protect("organisations", api="SELECT, UPDATE", tenant="id")
    _widen("environments", "organisation_id")


def _widen(table: str, owner: str) -> None:
    """Shows the rows to those, too, who see their owner."""
    who = roles()
    condition = f"id = ANY ({TENANTS}::uuid[]) OR {owner} = ANY ({TENANTS}::uuid[])"
    op.execute(f"DROP POLICY tenant ON {table}")
    op.execute(f'CREATE POLICY tenant ON {table} TO "{who.api}" USING ({condition}) WITH CHECK ({condition})')


def _give_keys_secrets() -> None:
    op.add_column("api_keys", sa.Column("environment_id", sa.Uuid(), nullable=True))
    op.execute("UPDATE api_keys SET environment_id = organisation_id")
    op.alter_column("api_keys", "environment_id", nullable=False)
    op.drop_constraint("fk_api_keys_organisations", "api_keys")
    op.create_foreign_key(op.f("fk_api_keys_organisations"), "api_keys", "organisations", ["organisation_id"], ["id"])
    op.create_foreign_key(op.f("fk_api_keys_environments"), "api_keys", "environments", ["environment_id"], ["id"])
    for column in (
        sa.Column("role", sa.Text(), server_default="owner", nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("signs", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("allowed_networks", sa.ARRAY(sa.Text()), server_default=NO_NAMES, nullable=False),
        sa.Column("denied_networks", sa.ARRAY(sa.Text()), server_default=NO_NAMES, nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_from", postgresql.INET(), nullable=True),
    ):
        op.add_column("api_keys", column)
    op.alter_column("api_keys", "role", server_default=None)
    op.create_table(
        "api_key_secrets",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id", "key_id"],
            ["api_keys.organisation_id", "api_keys.id"],
            name=op.f("fk_api_key_secrets_api_keys"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation_id", "key_id", "id", name=op.f("pk_api_key_secrets")),
    )
    op.execute(
        "INSERT INTO api_key_secrets (organisation_id, key_id, id, digest, hint, created_at)"
        " SELECT organisation_id, id, id, digest, hint, created_at FROM api_keys"
    )
    op.create_index(op.f("ix_api_key_secrets_digest"), "api_key_secrets", ["digest"], unique=True)
    op.create_index(op.f("ix_api_keys_id"), "api_keys", ["id"], unique=True)
    op.drop_index("ix_api_keys_digest", "api_keys")
    op.drop_column("api_keys", "digest")
    op.drop_column("api_keys", "hint")
    protect("api_key_secrets", tenant="organisation_id", api="SELECT, INSERT, UPDATE (expires_at), DELETE")
    op.execute(f'GRANT INSERT, UPDATE ON api_keys TO "{roles().api}"')


def _make_portal_expiries() -> None:
    op.create_table(
        "portal_expiries",
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("made_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("takes_effect_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["environment_id"], ["environments.id"], name=op.f("fk_portal_expiries_environments")),
        sa.PrimaryKeyConstraint("environment_id", "application_id", "id", name=op.f("pk_portal_expiries")),
    )
    protect("portal_expiries", api="SELECT, INSERT", tenant="environment_id")


def _make_finder(body: str, signature: str, wanted: str) -> None:
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    text = body.replace("{schema}", schema).replace("{name}", signature).replace("{wanted}", wanted)
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))
    op.execute(f"REVOKE ALL ON FUNCTION {signature.replace('wanted ', '')} FROM PUBLIC")
    op.execute(f'GRANT EXECUTE ON FUNCTION {signature.replace("wanted ", "")} TO "{roles().api}"')


def downgrade() -> None:
    op.drop_table("portal_expiries")
    for signature in FIND_KEYS:
        op.execute(f"DROP FUNCTION {signature.replace('wanted ', '')}")
    _take_secrets_back()
    _take_organisations_back()
    for table, refers in TENANT_TABLES.items():
        op.alter_column(table, "environment_id", new_column_name="organisation_id")
        if refers:
            new, old = f"fk_{table}_organisations", f"fk_{table}_environments"
            op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}")
    op.execute("ALTER TABLE environments RENAME CONSTRAINT pk_environments TO pk_organisations")
    op.rename_table("environments", "organisations")
    _make_finder(FIND_API_KEY_BEFORE, "find_api_key(bytea)", "")


def _take_secrets_back() -> None:
    """Each key keeps its newest secret; those that sign can no longer be told apart, and go."""
    op.execute("DELETE FROM api_keys WHERE signs")
    op.add_column("api_keys", sa.Column("digest", sa.LargeBinary(), nullable=True))
    op.add_column("api_keys", sa.Column("hint", sa.Text(), nullable=True))
    op.execute(
        "UPDATE api_keys k SET digest = s.digest, hint = s.hint FROM"
        " (SELECT DISTINCT ON (key_id) * FROM api_key_secrets ORDER BY key_id, id DESC) s WHERE s.key_id = k.id"
    )
    op.execute("DELETE FROM api_keys WHERE digest IS NULL")
    op.alter_column("api_keys", "digest", nullable=False)
    op.alter_column("api_keys", "hint", nullable=False)
    op.create_index("ix_api_keys_digest", "api_keys", ["digest"], unique=True)
    op.drop_table("api_key_secrets")
    op.drop_index("ix_api_keys_id", "api_keys")
    for name in (
        "role",
        "scopes",
        "signs",
        "allowed_networks",
        "denied_networks",
        "version",
        "updated_at",
        "last_used_at",
        "last_used_from",
    ):
        op.drop_column("api_keys", name)
    op.execute(f'REVOKE INSERT, UPDATE ON api_keys FROM "{roles().api}"')


def _take_organisations_back() -> None:
    """Each environment becomes an organisation of its own."""
    op.drop_constraint("fk_api_keys_organisations", "api_keys")
    op.drop_constraint("fk_api_keys_environments", "api_keys")
    op.execute("UPDATE api_keys SET organisation_id = environment_id")
    op.drop_column("api_keys", "environment_id")
    op.create_foreign_key("fk_api_keys_organisations", "api_keys", "environments", ["organisation_id"], ["id"])
    op.add_column("environments", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("environments", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE environments e SET name = o.name, deleted_at = o.deleted_at"
        " FROM organisations o WHERE o.id = e.organisation_id"
    )
    op.alter_column("environments", "name", nullable=False)
    who = roles()
    mine = f"id = ANY ({TENANTS}::uuid[])"
    op.execute("DROP POLICY tenant ON environments")
    op.execute(f'GRANT UPDATE ON environments TO "{who.api}"')
    op.execute(f'CREATE POLICY tenant ON environments TO "{who.api}" USING ({mine}) WITH CHECK ({mine})')
    op.drop_constraint("uq_environments_organisation_id_kind", "environments")
    op.drop_constraint("fk_environments_organisations", "environments")
    op.drop_constraint("ck_environments_kind", "environments")
    op.drop_column("environments", "organisation_id")
    op.drop_column("environments", "kind")
    op.drop_table("organisations")
