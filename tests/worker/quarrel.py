"""Transactions that the server gives up for the sake of others that are not there."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from app.cli.dev.roles import DatabaseUrls

ALWAYS = 1_000_000


@contextmanager
def quarrelling(database: DatabaseUrls, table: str, times: int = ALWAYS) -> Iterator[None]:
    """The next INSERTs into a table, so many, fail as if they could not be serialised."""
    name = f"quarrel_{table}"
    refuse = "RAISE EXCEPTION 'no' USING ERRCODE = '40001'"
    code = f"BEGIN IF nextval('{name}') <= {times} THEN {refuse}; END IF; RETURN NULL; END"
    with psycopg.connect(database.migrator, autocommit=True) as owner:
        for statement in (
            f"CREATE SEQUENCE {name}",
            f"GRANT USAGE ON SEQUENCE {name} TO PUBLIC",
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {code} $$",
            f"CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()",
        ):
            owner.execute(statement.encode())
        try:
            yield
        finally:
            owner.execute(f"DROP FUNCTION {name} CASCADE; DROP SEQUENCE {name}".encode())
