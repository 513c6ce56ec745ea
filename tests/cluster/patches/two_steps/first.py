"""A step of the schema that is quick; the step before it is filled in."""

import sqlalchemy as sa
from alembic import op

revision = "NUMBER"
down_revision = "BEFORE"
branch_labels = depends_on = None


def upgrade() -> None:
    op.create_table("rehearsed_steps", sa.Column("name", sa.Text))
    op.execute("INSERT INTO rehearsed_steps VALUES ('first')")


def downgrade() -> None:
    op.drop_table("rehearsed_steps")
