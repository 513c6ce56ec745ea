"""Remembers the nonces of signed requests and the one-time links that were used."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signature_nonces",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "key_id", "nonce", name=op.f("pk_signature_nonces")),
    )
    op.create_index("ix_signature_nonces_expires", "signature_nonces", ["expires_at"])
    op.create_table(
        "used_links",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("link_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["organisations.id"], name=op.f("fk_used_links_organisations")),
        sa.PrimaryKeyConstraint("organisation_id", "link_id", name=op.f("pk_used_links")),
    )
    for table in ("signature_nonces", "used_links"):
        protect(table, api="SELECT, INSERT")


def downgrade() -> None:
    op.drop_table("used_links")
    op.drop_table("signature_nonces")
