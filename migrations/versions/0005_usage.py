"""Monthly quotas of organisations, and what they used of them."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Without a quota an organisation is not limited."""
    op.add_column("organisations", sa.Column("monthly_events", sa.BigInteger(), nullable=True))
    op.create_table(
        "organisation_usage",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_organisation_usage_organisations")
        ),
        sa.PrimaryKeyConstraint("organisation_id", "month", name=op.f("pk_organisation_usage")),
        # Each row is written anew every second.
        postgresql_with={"fillfactor": "50"},
    )
    protect("organisation_usage", api="SELECT, INSERT, UPDATE")


def downgrade() -> None:
    """What was used is forgotten."""
    op.drop_table("organisation_usage")
    op.drop_column("organisations", "monthly_events")
