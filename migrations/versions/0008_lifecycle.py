"""Versions for those who change things at once, and what it takes to bring back what was deleted, or let it go."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import roles

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

DELETED = sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    for table in ("applications", "event_types"):
        op.add_column(table, sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    # What was deleted until now lost its secrets at once, and cannot be brought back.
    op.execute("UPDATE applications SET deleted_at = deleted_at - interval '30 days' WHERE deleted_at IS NOT NULL")
    op.execute("UPDATE endpoints SET deleted_at = deleted_at - interval '30 days' WHERE deleted_at IS NOT NULL")
    op.add_column("environments", sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(f'GRANT UPDATE (stopped_at, updated_at) ON environments TO "{roles().api}"')
    op.execute(
        "UPDATE environments e SET stopped_at = coalesce(o.deleted_at, o.suspended_at)"
        " FROM organisations o WHERE o.id = e.organisation_id"
    )
    op.create_index("ix_applications_deleted", "applications", ["environment_id", "id"], postgresql_where=DELETED)
    op.create_index(
        "ix_endpoints_deleted", "endpoints", ["environment_id", "application_id", "id"], postgresql_where=DELETED
    )


def downgrade() -> None:
    op.drop_index("ix_endpoints_deleted", "endpoints")
    op.drop_index("ix_applications_deleted", "applications")
    op.execute(f'REVOKE UPDATE (updated_at) ON environments FROM "{roles().api}"')
    op.drop_column("environments", "stopped_at")
    for table in ("applications", "event_types"):
        op.drop_column(table, "version")
