"""Finds secrets of keys whose end is near without looking at the others."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_api_key_secrets_expires_at": (
        "api_key_secrets",
        ["expires_at"],
        "warned_at IS NULL AND expires_at IS NOT NULL",
    ),
    "ix_api_key_secrets_organisation_id_created_at": (
        "api_key_secrets",
        ["organisation_id", "created_at"],
        "warned_at IS NULL",
    ),
    "ix_api_keys_expires_at": ("api_keys", ["expires_at"], "revoked_at IS NULL AND expires_at IS NOT NULL"),
    "ix_organisations_key_days": ("organisations", ["key_days"], "key_days IS NOT NULL"),
}


def upgrade() -> None:
    for name, (table, columns, where) in INDEXES.items():
        op.create_index(op.f(name), table, columns, postgresql_where=sa.text(where))


def downgrade() -> None:
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table)
