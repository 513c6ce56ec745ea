"""What PostgreSQL's catalogues say against the separation of organisations; nothing when all is well."""

from collections.abc import Mapping

import psycopg

# Tables that belong to no organisation.
UNSCOPED = ("alembic_version",)
# Each query names what breaks the rule. `own` are the roles of the API and the workers, `api` is the API's.
EXCEPTIONS: Mapping[str, str] = {
    "a role may more than it needs": """
        SELECT rolname FROM pg_roles WHERE rolname = ANY (%(own)s)
        AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)""",
    "a role can become another": """
        SELECT m.rolname || ' -> ' || r.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member
        JOIN pg_roles r ON r.oid = a.roleid WHERE m.rolname = ANY (%(own)s)""",
    "a role owns something": """
        SELECT d.classid::regclass || ' ' || d.objid FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
        WHERE d.deptype = 'o' AND d.refclassid = 'pg_authid'::regclass AND r.rolname = ANY (%(own)s)
        AND d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))""",
    "a role may make objects": """
        SELECT r.rolname || ' in ' || n.nspname FROM pg_roles r, pg_namespace n
        WHERE r.rolname = ANY (%(own)s) AND has_schema_privilege(r.oid, n.oid, 'CREATE')
        UNION SELECT r.rolname || ' in the database' FROM pg_roles r
        WHERE r.rolname = ANY (%(own)s) AND has_database_privilege(r.oid, current_database(), 'CREATE, TEMPORARY')""",
    "a table does not force row-level security": """
        SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND {ours}
        AND NOT c.relname = ANY (%(unscoped)s) AND NOT (c.relrowsecurity AND c.relforcerowsecurity)""",
    "a table that the API reads has no policy by the organisation": """
        SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND {ours}
        AND NOT c.relname = ANY (%(unscoped)s) AND has_any_column_privilege(%(api)s, c.oid, 'SELECT, INSERT, UPDATE')
        AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND {for_api})""",
    "a policy of the API's does not ask for the organisation": """
        SELECT p.polname || ' on ' || p.polrelid::regclass FROM pg_policy p WHERE {for_api}
        AND NOT (pg_get_expr(p.polqual, p.polrelid) LIKE '%%app.organisations%%'
        AND pg_get_expr(p.polwithcheck, p.polrelid) LIKE '%%app.organisations%%')""",
    "a table of no organisation is more than read": """
        SELECT r.rolname || ' on ' || c.oid::regclass FROM pg_roles r, pg_class c
        WHERE r.rolname = ANY (%(own)s) AND c.relkind IN ('r', 'p') AND {ours} AND c.relname = ANY (%(unscoped)s)
        AND has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE, REFERENCES')""",
    "a right that goes around policies": """
        SELECT r.rolname || ' on ' || c.oid::regclass FROM pg_roles r, pg_class c
        WHERE r.rolname = ANY (%(own)s) AND c.relkind IN ('r', 'p') AND {ours}
        AND has_table_privilege(r.oid, c.oid, 'TRUNCATE, REFERENCES, TRIGGER')""",
    "everybody may reach a table": """
        SELECT c.oid::regclass::text FROM pg_class c, aclexplode(c.relacl) a WHERE {ours} AND a.grantee = 0""",
    "a view sees with its owner's eyes": """
        SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'v' AND {ours}
        AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)""",
    "a view that keeps rows has no policies": """
        SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'm' AND {ours}""",
    "a function of its owner's rights looks names up where its caller says": """
        SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.prosecdef AND {our_functions}
        AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s ~ '^search_path=.*pg_temp$')""",
    "everybody may call a function of its owner's rights": """
        SELECT p.oid::regprocedure::text FROM pg_proc p,
        aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE p.prosecdef AND {our_functions} AND a.grantee = 0""",
}
_SYSTEM = "SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_|^information_schema$'"
_PARTS = {
    "{ours}": f"c.relnamespace NOT IN ({_SYSTEM})",
    "{our_functions}": f"p.pronamespace NOT IN ({_SYSTEM})",
    "{for_api}": "p.polpermissive AND (p.polroles = '{0}' OR %(api)s::regrole = ANY (p.polroles))",
}


def exceptions(connection: psycopg.Connection, api: str, worker: str) -> set[str]:
    """Every exception, as `rule: what breaks it`."""
    known = {"own": [api, worker], "api": api, "unscoped": list(UNSCOPED)}
    return {
        f"{rule}: {row[0]}" for rule, query in EXCEPTIONS.items() for row in connection.execute(_whole(query), known)
    }


def _whole(query: str) -> bytes:
    for part, text in _PARTS.items():
        query = query.replace(part, text)
    return query.encode()
