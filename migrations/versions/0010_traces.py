"""Where a message came from, so that what is done for it hours later can be told to belong to it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("payloads", sa.Column("traceparent", sa.LargeBinary(), nullable=True))
    op.add_column("payloads", sa.Column("request_id", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("payloads", "request_id")
    op.drop_column("payloads", "traceparent")
