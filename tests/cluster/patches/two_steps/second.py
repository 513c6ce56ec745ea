"""A step that takes a while, and then needs a table for itself; the step before it is filled in."""

import sqlalchemy as sa
from alembic import op

revision = "NUMBER"
down_revision = "BEFORE"
branch_labels = depends_on = None


def upgrade() -> None:
    op.execute("INSERT INTO rehearsed_steps VALUES ('second')")
    op.execute("SELECT pg_sleep(6)")
    op.add_column("applications", sa.Column("rehearsed", sa.Text))


def downgrade() -> None:
    op.drop_column("applications", "rehearsed")
