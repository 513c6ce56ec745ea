"""A step of the schema that does half of its work and fails; the step before it is filled in."""

import sqlalchemy as sa
from alembic import op

revision = "NUMBER"
down_revision = "BEFORE"
branch_labels = depends_on = None


def upgrade() -> None:
    op.create_table("half_done", sa.Column("id", sa.Integer, primary_key=True))
    raise RuntimeError("a step of the tests fails")


def downgrade() -> None:
    op.drop_table("half_done")
