"""Row-level security and rights, said once for every tenant table."""

from dataclasses import dataclass

from alembic import op

TENANTS = "(SELECT string_to_array(nullif(current_setting('app.organisations', true), ''), ',')::uuid[])"


@dataclass(frozen=True, slots=True)
class Roles:
    """The database roles of the API, the workers and the migrator, who owns every table."""

    api: str
    worker: str
    migrator: str


def roles() -> Roles:
    """The roles that env.py read from the three URLs."""
    found = op.get_context().config.attributes["roles"]  # type: ignore[union-attr]  # env.py always gives a config
    assert isinstance(found, Roles)
    return found


def protect(
    table: str,
    *,
    api: str,
    worker: str = "SELECT, INSERT, UPDATE, DELETE",
    tenant: str = "organisation_id",
    also: str | None = None,
) -> None:
    """Forces row-level security on the table and grants the two roles what they need of it.

    Whom the column `also` names may read the row too.
    """
    who = roles()
    own = f"{tenant} = ANY ({TENANTS}::uuid[])"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f'CREATE POLICY tenant ON {table} TO "{who.api}" USING ({own}) WITH CHECK ({own})')
    if also is not None:
        theirs = f"{also} = ANY ({TENANTS}::uuid[])"
        op.execute(f'CREATE POLICY reader ON {table} FOR SELECT TO "{who.api}" USING ({theirs})')
    op.execute(f'CREATE POLICY worker ON {table} TO "{who.worker}" USING (true) WITH CHECK (true)')
    op.execute(f'CREATE POLICY owner ON {table} TO "{who.migrator}" USING (true) WITH CHECK (true)')
    op.execute(f'GRANT {api} ON {table} TO "{who.api}"')
    op.execute(f'GRANT {worker} ON {table} TO "{who.worker}"')
