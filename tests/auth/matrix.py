"""Prints who may call which route: `python -m tests.auth.matrix > app/auth/permissions.md`."""

import sys
from base64 import b64encode

from fastapi import FastAPI

from app.auth.matrix import COLUMNS, markdown, operations
from app.domain.permissions import Permission
from app.kit.routing import PREFIX
from app.main import create_app
from app.settings import Settings

HEAD = """# Permissions

Written by `make permissions` from the routes, and compared with them by a test. A key may what its role may, less what
its scopes leave out, and in the test environment less what concerns the whole organisation. A portal token may what
its capabilities say, of its own application.

"""


def document() -> str:
    """The whole page."""
    return f"{HEAD}## By role\n\n{_roles()}\n## By route\n\n{markdown(operations(_app().routes, PREFIX), PREFIX)}"


def _roles() -> str:
    rows = [["permission", *COLUMNS], ["---", *(":-:" for _ in COLUMNS)]]
    rows += [[f"`{one}`", *("✓" if one in held else "" for held in COLUMNS.values())] for one in Permission]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _app() -> FastAPI:
    url = "postgresql://nobody@localhost/nothing"
    return create_app(
        Settings.model_validate(
            {
                "environment": "test",
                "database": {"url": url},
                "redis": {"url": "redis://localhost/0"},
                "secrets": {"keys": {"k": b64encode(bytes(32)).decode()}, "active": "k"},
            }
        )
    )


if __name__ == "__main__":
    sys.stdout.write(document())
