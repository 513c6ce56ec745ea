"""Each rule of semgrep.yml finds what it is for, where it is for, and leaves alone what is right."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.architecture.scanners import RULES, bandit, semgrep

Files = Mapping[str, str]
WRONG: Mapping[str, Files] = {
    "tls-is-verified": {
        "app/a.py": "client.get(url, verify=False)",
        "app/b.py": "session.post(url, ssl=False)",
        "worker/c.py": "import ssl\ncontext.verify_mode = ssl.CERT_NONE",
        "worker/d.py": "context.check_hostname = False",
        "app/kit/egress/e.py": "from ssl import _create_unverified_context as make\ncontext = make()",
        "app/f.py": "redis = Redis(ssl_cert_reqs='none')",
    },
    "tokens-name-their-algorithms": {
        "app/a.py": "from joserfc import jwt\njwt.decode(text, key)",
        "app/b.py": "import jwt\njwt.decode(text, key=key)",
        "app/c.py": "from joserfc.jwt import decode as read\nread(text, key)",
        "app/d.py": "from joserfc import jws\njws.deserialize_compact(text, key)",
        "worker/e.py": "from joserfc import jwt\njwt.decode(text, key, algorithms=None)",
        "app/f.py": "from joserfc import jwt\njwt.decode(text, key, None)",
        "app/g.py": "import jwt\njwt.decode(text, key, ['HS256'], options={'verify_signature': False})",
        "app/h.py": "from authlib.jose import jwt",
    },
    "sql-is-no-string-work": {
        "app/a.py": "from sqlalchemy import text\ndb.execute(text(f'SELECT {name}'))",
        "app/b.py": "db.execute('SELECT %s' % name)",
        "app/c.py": "import sqlalchemy as sa\nstatement = sa.text('SELECT ' + name)",
        "app/d.py": "connection.exec_driver_sql('SELECT {}'.format(name))",
        "worker/e.py": "def read(name):\n    wanted = f'SELECT {name}'\n    return connection.fetch(wanted)",
        "app/f.py": "from psycopg import sql\nstatement = sql.SQL(f'SELECT {name}')",
        "app/features/x/queries.py": "from sqlalchemy import literal_column\nfound = literal_column(f'{name}')",
        "app/g.py": "wanted = 'SELECT 1 WHERE '\nwanted += name\ncursor.execute(wanted)",
    },
    "one-client-calls-out": {
        "app/a.py": "import requests",
        "app/b.py": "from httpx import AsyncClient",
        "app/c.py": "def call():\n    import httpx2",
        "worker/d.py": "import aiohttp",
        "worker/e.py": "from aiohttp import ClientSession",
        "app/f.py": "import urllib.request",
        "app/g.py": "from urllib.request import urlopen",
        "app/h.py": "from urllib import request",
        "app/i.py": "from http.client import HTTPConnection",
        "app/j.py": "import asyncio\nasync def call():\n    await asyncio.open_connection(host, 80)",
        "app/k.py": "import socket\nsocket.create_connection((host, 80))",
        "app/cli/l.py": "import importlib\nclient = importlib.import_module('requests')",
        "app/m.py": "import json, urllib.request",
    },
    "times-are-rows": {
        "worker/a.py": "task.apply_async(args, countdown=5)",
        "app/b.py": "self._app.send_task('name', queue='q', eta=then)",
        "worker/c.py": "self.retry(exc=error, countdown=5)",
        "worker/d.py": "task.s(1).set(eta=then)",
    },
    "statements-stand-in-queries": {
        "app/features/x/service.py": "from sqlalchemy import func, select",
        "app/features/x/router.py": "from sqlalchemy.dialects.postgresql import insert as upsert",
        "worker/a.py": "import sqlalchemy as sa\nfound = db.execute(sa.select(Model))",
        "app/main.py": "from sqlalchemy import (\n    func,\n    delete,\n)",
        "app/console/portal.py": "import sqlalchemy\nsqlalchemy.text('SELECT 1')",
        "app/cli/orgs.py": "from sqlalchemy.sql.expression import update",
    },
    "nobody-steps-over-row-level-security": {
        "migrations/versions/a.py": "op.execute('ALTER TABLE t DISABLE ROW LEVEL SECURITY')",
        "migrations/versions/b.py": "op.execute('ALTER TABLE t NO FORCE ROW LEVEL SECURITY')",
        "app/a.py": "text('SET LOCAL ROLE postrider_worker')",
        "app/cli/dev/b.py": "'CREATE ROLE {} LOGIN BYPASSRLS'",
        "worker/c.py": "'SET row_security = off'",
    },
}
RIGHT: Files = {
    "app/tokens.py": "from joserfc import jwt\njwt.decode(text, key, [ONE])\njwt.decode(text, key, algorithms=GOOD)",
    "app/kit/egress/client.py": "import aiohttp",
    "app/cli/bench/sender.py": "import aiohttp",
    "app/console/links.py": "from urllib.parse import urlsplit\nfrom http import HTTPStatus",
    "app/features/x/queries.py": "from sqlalchemy import select, text\nfound = text('SELECT 1')",
    "app/features/x/claim_queries.py": "from sqlalchemy import select",
    "app/features/x/service.py": "from sqlalchemy import Select\nfrom x.queries import every, update\nupdate(Model)",
    "app/cli/roles.py": "from psycopg import sql\ndb.execute(sql.SQL('GRANT {}').format(sql.Identifier(name)))",
    "app/names.py": "db.execute(queries.named(tenant, f'{name}.x'), {'key': f'{name}'})",
    "worker/wake.py": "task.apply_async(args, expires=5, queue='q')\nverify(True)\nclient.get(url, verify=context)",
    "migrations/versions/a.py": "op.execute(f'ALTER TABLE {table} FORCE ROW LEVEL SECURITY')\n'NOBYPASSRLS'",
}


def write(folder: Path, files: Files, prefix: str = "") -> None:
    for name, code in files.items():
        file = folder / prefixed(name, prefix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{code}\n")


def prefixed(name: str, prefix: str) -> str:
    """The same file under a name of its own in its folder."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{prefix}{file}"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """The rules that were broken, and where, in one tree of all that is wrong and all that is right."""
    folder = tmp_path_factory.mktemp("planted")
    for rule, files in {**WRONG, "right": RIGHT}.items():
        write(folder, files, f"{rule}-")
    done = semgrep("--json", folder=folder)
    report = json.loads(done.stdout)
    assert (done.returncode, report["errors"]) == (1, [])
    return {(one["check_id"].rpartition(".")[2], one["path"]) for one in report["results"]}


@pytest.mark.parametrize("rule", WRONG)
def test_a_rule_finds_what_it_is_for(found: set[tuple[str, str]], rule: str) -> None:
    planted = {prefixed(name, f"{rule}-") for name in WRONG[rule]}
    assert {path for name, path in found if name == rule} & planted == planted


def test_what_is_right_is_left_alone(found: set[tuple[str, str]]) -> None:
    assert {(rule, path) for rule, path in found if path.rpartition("/")[2].startswith("right-")} == set()


def test_every_rule_is_shown_to_bite() -> None:
    assert re.findall(r"^  - id: (\S+)$", RULES.read_text(), re.MULTILINE) == list(WRONG)


def test_bandit_finds_what_it_is_for(tmp_path: Path) -> None:
    write(
        tmp_path, {"app/a.py": "import hashlib\nhashlib.md5(secret)", "worker/b.py": "import pickle\npickle.loads(x)"}
    )
    done = bandit("--format=json", folder=tmp_path)
    assert done.returncode == 1
    assert {one["test_id"] for one in json.loads(done.stdout)["results"]} == {"B324", "B301"}
