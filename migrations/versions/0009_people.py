"""People and how they sign in; OAuth clients and tokens; identity providers; mail."""

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import TENANTS, protect, roles

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

EVERY = "SELECT, INSERT, UPDATE, DELETE"
RIGHTS = {
    "mails": ("owner_id", "SELECT, INSERT", None),
    "signing_keys": ("organisation_id", "SELECT", None),
    "used_tickets": ("owner_id", "SELECT, INSERT", None),
    "users": ("id", "SELECT, INSERT, UPDATE", None),
    "devices": ("user_id", EVERY, None),
    "failure_counts": ("user_id", EVERY, None),
    "identity_providers": ("organisation_id", EVERY, None),
    "invitations": ("organisation_id", "SELECT, INSERT, UPDATE", None),
    "logout_notices": ("organisation_id", "SELECT, INSERT", None),
    "memberships": ("organisation_id", EVERY, "user_id"),
    "oauth_codes": ("organisation_id", "SELECT, INSERT, UPDATE", None),
    "oauth_consents": ("organisation_id", EVERY, "user_id"),
    "oauth_families": ("organisation_id", "SELECT, INSERT, UPDATE", "user_id"),
    "one_time_tokens": ("user_id", "SELECT, INSERT, UPDATE", None),
    "passkeys": ("user_id", EVERY, None),
    "passwords": ("user_id", EVERY, None),
    "recovery_codes": ("user_id", EVERY, None),
    "revoked_tokens": ("organisation_id", "SELECT, INSERT", None),
    "sessions": ("user_id", "SELECT, INSERT, UPDATE", None),
    "totp_secrets": ("user_id", EVERY, None),
    "federated_identities": ("organisation_id", EVERY, "user_id"),
    "oauth_clients": ("organisation_id", "SELECT, INSERT, UPDATE", None),
    "oauth_refresh_tokens": ("organisation_id", "SELECT, INSERT, UPDATE", None),
    "provider_domains": ("organisation_id", EVERY, None),
    "oauth_client_secrets": ("organisation_id", EVERY, None),
}
"""Of each table: whose a row is, what the API may, and who else may read it."""

FUNCTIONS = {
    # Whose address it is; nothing else is said to whoever is not known yet.
    "find_user(wanted text)": """
        CREATE FUNCTION {signature} RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $$
            SELECT id FROM {schema}.users WHERE email_key = wanted AND deleted_at IS NULL
        $$""",
    "find_oauth_client(wanted uuid)": """
        CREATE FUNCTION {signature} RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $$
            SELECT c.organisation_id FROM {schema}.oauth_clients c
            JOIN {schema}.organisations o ON o.id = c.organisation_id
            WHERE c.id = wanted AND c.deleted_at IS NULL AND o.deleted_at IS NULL AND o.suspended_at IS NULL
        $$""",
    "find_identity_provider(wanted text)": """
        CREATE FUNCTION {signature} RETURNS TABLE (organisation_id uuid, provider_id uuid)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            SELECT d.organisation_id, d.provider_id FROM {schema}.provider_domains d
            JOIN {schema}.identity_providers p ON p.organisation_id = d.organisation_id AND p.id = d.provider_id
            JOIN {schema}.organisations o ON o.id = d.organisation_id
            WHERE d.domain = wanted AND d.verified_at IS NOT NULL AND p.disabled_at IS NULL
              AND o.deleted_at IS NULL AND o.suspended_at IS NULL
        $$""",
    "find_provider(wanted uuid)": """
        CREATE FUNCTION {signature} RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $$
            SELECT p.organisation_id FROM {schema}.identity_providers p
            JOIN {schema}.organisations o ON o.id = p.organisation_id
            WHERE p.id = wanted AND p.disabled_at IS NULL AND o.deleted_at IS NULL AND o.suspended_at IS NULL
        $$""",
    # Who is signed in by a provider; of its own names for person and session either may be left out, or both.
    "find_provider_sessions(provider uuid, wanted_subject text, wanted_session text)": """
        CREATE FUNCTION {signature} RETURNS TABLE (user_id uuid, session_id uuid)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            SELECT s.user_id, s.id FROM {schema}.sessions s
            WHERE s.provider_id = provider AND s.ended_at IS NULL AND s.expires_at > now()
              AND (wanted_subject IS NULL OR s.provider_subject = wanted_subject)
              AND (wanted_session IS NULL OR s.provider_session = wanted_session)
        $$""",
    "demands_mfa(person uuid)": """
        CREATE FUNCTION {signature} RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp AS $$
            SELECT EXISTS (
                SELECT FROM {schema}.memberships m JOIN {schema}.organisations o ON o.id = m.organisation_id
                WHERE m.user_id = person AND o.mfa_required AND o.deleted_at IS NULL)
        $$""",
    # No row for a token that is over, whatever it says of itself.
    "find_access_token(organisation uuid, family uuid, token text)": """
        CREATE FUNCTION {signature}
        RETURNS TABLE (environment_id uuid, environment text, client_id uuid, user_id uuid, role text, scopes text[],
            mfa_required boolean, has_mfa boolean, organisation_allows text[], organisation_denies text[])
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            SELECT c.environment_id, e.kind, c.id, f.user_id, coalesce(m.role, c.role), f.scopes, o.mfa_required,
                f.user_id IS NOT NULL AND (
                    EXISTS (SELECT FROM {schema}.passkeys k WHERE k.user_id = f.user_id) OR EXISTS (
                        SELECT FROM {schema}.totp_secrets t WHERE t.user_id = f.user_id AND t.confirmed_at IS NOT NULL)
                ),
                o.allowed_networks, o.denied_networks
            FROM {schema}.oauth_families f
            JOIN {schema}.oauth_clients c ON c.organisation_id = f.organisation_id AND c.id = f.client_id
            JOIN {schema}.environments e ON e.id = c.environment_id
            JOIN {schema}.organisations o ON o.id = f.organisation_id
            LEFT JOIN {schema}.users u ON u.id = f.user_id
            LEFT JOIN {schema}.memberships m ON m.organisation_id = f.organisation_id AND m.user_id = f.user_id
            LEFT JOIN {schema}.sessions s ON s.user_id = f.user_id AND s.id = f.session_id
            WHERE f.organisation_id = organisation AND f.id = family
              AND f.revoked_at IS NULL AND f.expires_at > now() AND c.deleted_at IS NULL
              AND o.deleted_at IS NULL AND o.suspended_at IS NULL
              AND (f.user_id IS NULL OR (m.user_id IS NOT NULL AND u.deleted_at IS NULL AND u.disabled_at IS NULL
                AND u.session_version = f.session_version))
              AND (f.session_id IS NULL OR (s.id IS NOT NULL AND s.ended_at IS NULL AND s.expires_at > now()))
              AND NOT EXISTS (SELECT FROM {schema}.revoked_tokens r
                WHERE r.organisation_id = organisation AND r.token_id = token)
        $$""",
}
# What the functions are called that find keys, and by what.
FIND_KEYS = {"find_api_key(wanted bytea)": "s.digest = wanted", "find_signing_key(wanted uuid)": "k.id = wanted"}
FIND_KEY = """
CREATE FUNCTION {signature}
RETURNS TABLE (organisation_id uuid, environment_id uuid, environment text, key_id uuid, secret_id uuid, role text,
    scopes text[], signs boolean, sealed bytea, organisation_allows text[], organisation_denies text[],
    key_allows text[], key_denies text[], ends_at timestamptz{columns})
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.organisation_id, k.environment_id, e.kind, k.id, s.id, k.role, k.scopes, k.signs, s.sealed,
        o.allowed_networks, o.denied_networks, k.allowed_networks, k.denied_networks,
        least(k.expires_at, s.expires_at, s.created_at + make_interval(days => o.key_days)){values}
    FROM {schema}.api_key_secrets s
    JOIN {schema}.api_keys k ON k.organisation_id = s.organisation_id AND k.id = s.key_id
    JOIN {schema}.organisations o ON o.id = k.organisation_id
    JOIN {schema}.environments e ON e.id = k.environment_id{joins}
    WHERE {wanted} AND k.revoked_at IS NULL AND o.deleted_at IS NULL AND o.suspended_at IS NULL
      AND coalesce(least(k.expires_at, s.expires_at, s.created_at + make_interval(days => o.key_days)) > now(), true)
{also}$$
"""
NO_MAKER = {"columns": "", "values": "", "joins": "", "also": ""}
# A key that a person made is over with the person, or with its place in the organisation.
MAKER = {
    "columns": ", maker_id uuid, maker_role text",
    "values": ", k.user_id, m.role",
    "joins": """
    LEFT JOIN {schema}.memberships m ON m.organisation_id = k.organisation_id AND m.user_id = k.user_id
    LEFT JOIN {schema}.users u ON u.id = m.user_id AND u.disabled_at IS NULL AND u.deleted_at IS NULL""",
    "also": "      AND (k.user_id IS NULL OR u.id IS NOT NULL)\n",
}
# Whoever ends a session, and for whichever reason: the clients that it was used at hear of it.
TELL_CLIENTS = """
    CREATE FUNCTION owe_logout_notices() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        INSERT INTO {schema}.logout_notices (organisation_id, id, client_id, user_id, session_id, due_at)
        SELECT DISTINCT ON (f.organisation_id, f.client_id)
            f.organisation_id, gen_random_uuid(), f.client_id, f.user_id, NEW.id, now()
        FROM {schema}.oauth_families f
        JOIN {schema}.oauth_clients c ON c.organisation_id = f.organisation_id AND c.id = f.client_id
        WHERE f.user_id = NEW.user_id AND f.began_in = NEW.id AND 'openid' = ANY (f.scopes)
          AND c.backchannel_logout_uri IS NOT NULL AND c.deleted_at IS NULL;
        RETURN NULL;
    END $$"""
WHEN_A_SESSION_ENDS = """
    CREATE TRIGGER tell_clients AFTER UPDATE OF ended_at ON sessions FOR EACH ROW
    WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION owe_logout_notices()"""
# An organisation reads who its people are; what they prove it with lies in tables of their own.
FELLOWS = """
    EXISTS (SELECT FROM memberships m WHERE m.user_id = users.id AND m.organisation_id = ANY ({tenants}::uuid[]))"""


def upgrade() -> None:
    _make_tables()
    for table, (tenant, api, also) in RIGHTS.items():
        protect(table, api=api, tenant=tenant, also=also)
    fellows = FELLOWS.replace("{tenants}", TENANTS)
    op.execute(f'CREATE POLICY fellows ON users FOR SELECT TO "{roles().api}" USING ({fellows})')
    schema = _schema()
    for signature, text in FUNCTIONS.items():
        op.execute(text.format(signature=signature, schema=schema))
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f'GRANT EXECUTE ON FUNCTION {signature} TO "{roles().api}"')
    op.execute(TELL_CLIENTS.format(schema=schema))
    op.execute("REVOKE ALL ON FUNCTION owe_logout_notices() FROM PUBLIC")
    op.execute(WHEN_A_SESSION_ENDS)
    _give_keys_makers()
    _find_keys_anew(MAKER)


def downgrade() -> None:
    _find_keys_anew(NO_MAKER)
    op.drop_column("api_keys", "user_id")
    op.execute("DROP TRIGGER tell_clients ON sessions")
    op.execute("DROP FUNCTION owe_logout_notices()")
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("DROP POLICY fellows ON users")
    for table in reversed(RIGHTS):
        op.drop_table(table)
    op.drop_column("organisations", "mfa_required")


def _schema() -> str:
    return str(op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one())


def _find_keys_anew(maker: Mapping[str, str]) -> None:
    """Puts the functions that find keys in the place of those so far."""
    schema = _schema()
    parts = {name: text.format(schema=schema) for name, text in maker.items()}
    for signature, wanted in FIND_KEYS.items():
        bare = signature.replace("wanted ", "")
        op.execute(f"DROP FUNCTION {bare}")
        op.execute(FIND_KEY.format(signature=signature, schema=schema, wanted=wanted, **parts))
        op.execute(f"REVOKE ALL ON FUNCTION {bare} FROM PUBLIC")
        op.execute(f'GRANT EXECUTE ON FUNCTION {bare} TO "{roles().api}"')


def _give_keys_makers() -> None:
    op.add_column("api_keys", sa.Column("user_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_api_keys_users"), "api_keys", "users", ["user_id"], ["id"], ondelete="CASCADE")
    op.create_index(
        op.f("ix_api_keys_user_id"), "api_keys", ["user_id"], unique=False, postgresql_where="user_id IS NOT NULL"
    )


def _make_tables() -> None:
    op.create_table(
        "mails",
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_failure", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("owner_id", "id", name=op.f("pk_mails")),
    )
    op.create_index("ix_mails_due", "mails", ["due_at"], unique=False, postgresql_where="due_at IS NOT NULL")
    op.create_index(op.f("ix_mails_created_at"), "mails", ["created_at"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("public_jwk", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("signs_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verifies_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "used_tickets",
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("ticket_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "ticket_id", name=op.f("pk_used_tickets")),
    )
    op.create_index("ix_used_tickets_expires", "used_tickets", ["expires_at"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("session_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("email_verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("uq_users_email_key", "users", ["email_key"], unique=True, postgresql_where="deleted_at IS NULL")
    op.create_table(
        "devices",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_from", postgresql.INET(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_devices_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_devices")),
    )
    op.create_table(
        "failure_counts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "kind", "device_id", name=op.f("pk_failure_counts")),
    )
    op.create_index(op.f("ix_failure_counts_failed_at"), "failure_counts", ["failed_at"], unique=False)
    op.create_table(
        "identity_providers",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=True),
        sa.Column("auth_method", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_identity_providers_organisations")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_identity_providers")),
    )
    op.create_index(op.f("ix_identity_providers_id"), "identity_providers", ["id"], unique=True)
    op.create_table(
        "invitations",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("invited_by", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_by", sa.Uuid(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_invitations_organisations")),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_invitations")),
    )
    op.create_index(
        "uq_invitations_open",
        "invitations",
        ["organisation_id", "email_key"],
        unique=True,
        postgresql_where="accepted_at IS NULL AND revoked_at IS NULL",
    )
    op.create_index(op.f("ix_invitations_expires_at"), "invitations", ["expires_at"], unique=False)
    op.create_table(
        "logout_notices",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_failure", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_logout_notices_organisations")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_logout_notices_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_logout_notices")),
    )
    op.create_index(
        "ix_logout_notices_due", "logout_notices", ["due_at"], unique=False, postgresql_where="due_at IS NOT NULL"
    )
    op.create_index(op.f("ix_logout_notices_created_at"), "logout_notices", ["created_at"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_memberships_organisations")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organisation_id", "user_id", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_user_id"), "memberships", ["user_id"], unique=False)
    op.create_table(
        "oauth_codes",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("claims", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_oauth_codes_organisations")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_oauth_codes_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_oauth_codes")),
    )
    op.create_index(op.f("ix_oauth_codes_expires_at"), "oauth_codes", ["expires_at"], unique=False)
    op.create_table(
        "oauth_consents",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_oauth_consents_organisations")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_oauth_consents_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organisation_id", "user_id", "client_id", name=op.f("pk_oauth_consents")),
    )
    op.create_table(
        "oauth_families",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("began_in", sa.Uuid(), nullable=True),
        sa.Column("session_version", sa.Integer(), nullable=True),
        sa.Column("claims", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("methods", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("authenticated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_oauth_families_organisations")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_oauth_families_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_oauth_families")),
    )
    op.create_index(op.f("ix_oauth_families_expires_at"), "oauth_families", ["expires_at"], unique=False)
    op.create_index(
        op.f("ix_oauth_families_organisation_id_client_id"),
        "oauth_families",
        ["organisation_id", "client_id"],
        unique=False,
    )
    op.create_index(op.f("ix_oauth_families_user_id"), "oauth_families", ["user_id"], unique=False)
    op.create_table(
        "one_time_tokens",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_one_time_tokens_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_one_time_tokens")),
    )
    op.create_index("ix_one_time_tokens_expires", "one_time_tokens", ["expires_at"], unique=False)
    op.create_table(
        "passkeys",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("transports", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("is_backed_up", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_passkeys_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_passkeys")),
    )
    op.create_index("uq_passkeys_credential_id", "passkeys", ["credential_id"], unique=True)
    op.create_table(
        "passwords",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_passwords_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_passwords")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_recovery_codes_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_recovery_codes")),
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_revoked_tokens_organisations")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "token_id", name=op.f("pk_revoked_tokens")),
    )
    op.create_index(op.f("ix_revoked_tokens_expires_at"), "revoked_tokens", ["expires_at"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("session_version", sa.Integer(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=True),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column("methods", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("authenticated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reauthenticated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=True),
        sa.Column("last_seen_from", postgresql.INET(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("network", sa.Integer(), nullable=True),
        sa.Column("risk", sa.Integer(), server_default="0", nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=True),
        sa.Column("provider_subject", sa.Text(), nullable=True),
        sa.Column("provider_session", sa.Text(), nullable=True),
        sa.Column("impersonator", sa.Text(), nullable=True),
        sa.Column("impersonation_reason", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)
    op.create_index(
        "ix_sessions_provider",
        "sessions",
        ["provider_id", "provider_subject"],
        unique=False,
        postgresql_where="provider_id IS NOT NULL",
    )
    op.create_table(
        "totp_secrets",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("last_timecode", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_totp_secrets_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_totp_secrets")),
    )
    op.create_table(
        "federated_identities",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id", "provider_id"],
            ["identity_providers.organisation_id", "identity_providers.id"],
            name=op.f("fk_federated_identities_identity_providers"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_federated_identities_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organisation_id", "provider_id", "subject", name=op.f("pk_federated_identities")),
    )
    op.create_index(op.f("ix_federated_identities_user_id"), "federated_identities", ["user_id"], unique=False)
    op.create_table(
        "oauth_clients",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("auth_method", sa.Text(), nullable=False),
        sa.Column("redirect_uris", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("post_logout_redirect_uris", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("backchannel_logout_uri", sa.Text(), nullable=True),
        sa.Column("grant_types", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("first_party", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("id_token_algorithm", sa.Text(), nullable=False),
        sa.Column("jwks", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["environment_id"], ["environments.id"], name=op.f("fk_oauth_clients_environments")),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_oauth_clients_organisations")),
        sa.PrimaryKeyConstraint("organisation_id", "id", name=op.f("pk_oauth_clients")),
    )
    op.create_index(op.f("ix_oauth_clients_id"), "oauth_clients", ["id"], unique=True)
    op.create_table(
        "oauth_refresh_tokens",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id", "family_id"],
            ["oauth_families.organisation_id", "oauth_families.id"],
            name=op.f("fk_oauth_refresh_tokens_oauth_families"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation_id", "family_id", "id", name=op.f("pk_oauth_refresh_tokens")),
    )
    op.create_table(
        "provider_domains",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id", "provider_id"],
            ["identity_providers.organisation_id", "identity_providers.id"],
            name=op.f("fk_provider_domains_identity_providers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation_id", "provider_id", "domain", name=op.f("pk_provider_domains")),
    )
    op.create_index(
        "uq_provider_domains_verified",
        "provider_domains",
        ["domain"],
        unique=True,
        postgresql_where="verified_at IS NOT NULL",
    )
    op.create_table(
        "oauth_client_secrets",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id", "client_id"],
            ["oauth_clients.organisation_id", "oauth_clients.id"],
            name=op.f("fk_oauth_client_secrets_oauth_clients"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation_id", "client_id", "id", name=op.f("pk_oauth_client_secrets")),
    )
    op.add_column("organisations", sa.Column("mfa_required", sa.Boolean(), server_default="false", nullable=False))
