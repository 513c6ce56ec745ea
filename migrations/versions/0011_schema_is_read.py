"""Every process may read which revision the schema has, and says that it is not ready for an older one than its own."""

from alembic import op

from migrations.tenancy import roles

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for role in (roles().api, roles().worker):
        op.execute(f'GRANT SELECT ON alembic_version TO "{role}"')


def downgrade() -> None:
    for role in (roles().api, roles().worker):
        op.execute(f'REVOKE ALL ON alembic_version FROM "{role}"')
