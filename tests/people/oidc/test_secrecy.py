"""Tokens, secrets, passwords and codes leave no trace: not in logs, not in the audit log, not in what errors say."""

import logging
from collections.abc import Iterator
from urllib.parse import urlencode

import aiohttp
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from tests.api.client import Api
from tests.people.oauth.conftest import api, stranger
from tests.people.oauth.world import App, code_for, new_app, path_of, redeem, refresh
from tests.people.visitor import PASSWORD, Known, Visitor

__all__ = ["api", "stranger"]
CANARY = "canary-4d1f0c9e"


class Written(logging.Handler):
    """Everything that is logged, by whomever and however finely."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.getMessage()} {record.args} {record.exc_info}")


@pytest.fixture
def written() -> Iterator[Written]:
    handler, root = Written(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for noisy in ("asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.INFO)  # of the test's own client
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


def kept(sessions: sessionmaker[Session]) -> str:
    """What the database says in words: the audit log, and each column of text in which something could be left."""
    with sessions.begin() as db:
        columns = db.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
                " AND data_type IN ('text', 'jsonb', 'ARRAY', 'character varying')"
            )
        ).all()
        found = []
        for table, column in columns:
            statement = text(f'SELECT string_agg("{column}"::text, \' \') FROM "{table}"')  # noqa: S608 names of our own tables
            found.append(db.execute(statement).scalar() or "")
    return "\n".join(found)


@pytest.mark.acceptance("T14")
async def test_what_is_secret_is_found_nowhere(
    visitor: Visitor,
    api: Api,
    person: Known,
    http: aiohttp.ClientSession,
    base_url: str,
    sessions: sessionmaker[Session],
    written: Written,
) -> None:
    secrets, said = {PASSWORD, CANARY}, []
    app = await new_app(api, scopes=["openid", "offline_access"])
    assert app.secret is not None
    await visitor.sign_in(person.email, CANARY)
    await visitor.sign_in(person.email)
    secrets |= {app.secret, *visitor.cookies.values()}
    scope = {"scope": "openid offline_access"}
    code = await code_for(visitor, app, prompt="consent", **scope)
    tokens = (await redeem(app, code)).body
    renewed = (await refresh(app, tokens["refresh_token"])).body
    for one in (tokens, renewed):
        secrets |= {one["access_token"], one["refresh_token"], one["id_token"]}
    secrets.add(code)
    said += [await _errors(app, code, tokens), await _calls(http, base_url, renewed["access_token"])]
    said.append((await visitor.get(path_of(app, state=None, redirect_uri="https://x.example.test"))).raw.decode())
    stored = kept(sessions)
    assert person.email in stored
    assert written.lines
    haystack = "\n".join([*written.lines, *said, stored])
    parts = {piece for one in secrets for piece in (one, one.rpartition(".")[2]) if len(piece) > 8}
    assert [one for one in parts if one in haystack] == []


async def _errors(app: App, code: str, tokens: dict[str, str]) -> str:
    """What the token endpoint says to what is used twice, or wrong."""
    wrong = App(app.http, app.base, app.id, CANARY)
    replies = [
        await redeem(app, code),
        await refresh(app, tokens["refresh_token"]),
        await wrong.token(grant_type="client_credentials"),
        await app.token(grant_type="authorization_code", code=CANARY, redirect_uri=CANARY, code_verifier=CANARY),
        await app.token(grant_type="refresh_token", refresh_token=CANARY),
        await app.post("/oauth/introspect", {"token": CANARY}),
    ]
    assert replies[0].status == 400
    return " ".join(one.raw.decode() for one in replies)


async def _calls(http: aiohttp.ClientSession, base_url: str, token: str) -> str:
    """What the API says to tokens that are not good, wherever they stand."""
    said = []
    query = urlencode({"access_token": token})
    for path, header in (
        (f"/api/v1/organisation?{query}", ""),
        ("/api/v1/organisation", f"Bearer {token}x"),
        ("/api/v1/organisation", f"Bearer {CANARY}"),
        ("/oauth/userinfo", f"Bearer {token}x"),
    ):
        async with http.get(base_url + path, headers={"authorization": header}) as response:
            assert response.status == 401
            said.append(await response.text() + str(response.headers))
    return " ".join(said)
