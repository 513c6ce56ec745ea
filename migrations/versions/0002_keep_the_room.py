"""Keeps the room that due deliveries took: what shrinks and grows all day is not to be cut off its end in between."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Cutting takes a lock that keeps out everybody, in the middle of the busiest table."""
    op.execute("ALTER TABLE due_deliveries SET (vacuum_truncate = off)")


def downgrade() -> None:
    """As before."""
    op.execute("ALTER TABLE due_deliveries RESET (vacuum_truncate)")
