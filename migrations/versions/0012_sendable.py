"""How many deliveries may go now, for whoever decides how many workers there are and may see nothing else."""

from alembic import op

from migrations.tenancy import roles

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

SENDABLE = """
CREATE FUNCTION sendable_deliveries(wanted text)
RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number smallint := array_position(ARRAY['first', 'retry', 'replay'], wanted) - 1;
BEGIN
    IF number IS NULL THEN
        RAISE EXCEPTION 'there is no lane %: ask for first, retry or replay', wanted;
    END IF;
    RETURN (
        SELECT least(coalesce(sum(owed.times), 0), 100000) FROM (
            SELECT environment_id, endpoint_id, trigger, count(*) AS times FROM (
                SELECT environment_id, endpoint_id, trigger FROM {schema}.due_deliveries
                WHERE lane = number AND state + 0 <> 2 AND due_at <= now()
                ORDER BY due_at LIMIT 1000000
            ) oldest
            GROUP BY environment_id, endpoint_id, trigger
        ) owed
        WHERE NOT EXISTS (
            SELECT FROM {schema}.environments e WHERE e.id = owed.environment_id AND e.stopped_at IS NOT NULL)
          AND (owed.trigger = 1 OR NOT EXISTS (
            SELECT FROM {schema}.endpoint_health h
            WHERE h.environment_id = owed.environment_id AND h.endpoint_id = owed.endpoint_id
              AND greatest(h.open_until, h.slow_until) > now()))
          AND (owed.trigger = 1 OR NOT EXISTS (
            SELECT FROM {schema}.endpoint_gates g
            WHERE g.environment_id = owed.environment_id AND g.endpoint_id = owed.endpoint_id AND g.lane = number
              AND g.next_at > now()))
    );
END
$$
"""


def upgrade() -> None:
    """What is held back behind a gate, by a breaker, by a rate or by a stop, no further worker would send.

    It says no more than gives any number of workers enough to do, and asks once for each endpoint what holds it back.
    It looks at the million that are due for longest: a second's work, however many more there are.
    """
    schema = op.get_bind().exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    op.get_bind().exec_driver_sql(SENDABLE.replace("{schema}", schema).replace("%", "%%"))
    op.execute("REVOKE ALL ON FUNCTION sendable_deliveries(text) FROM PUBLIC")
    op.execute(f'GRANT EXECUTE ON FUNCTION sendable_deliveries(text) TO "{roles().worker}"')


def downgrade() -> None:
    op.execute("DROP FUNCTION sendable_deliveries(text)")
