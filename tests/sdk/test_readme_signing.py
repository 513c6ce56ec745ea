"""The README's clients that sign are run as they stand, against what judges signatures."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from app.auth.signed_requests import SigningSecret
from app.cli.dev.roles import DatabaseUrls
from tests.sdk.test_readme import run, snippets
from tests.verifier import Keys, database_sessions, verifier

TITLE = "Sign requests instead of sending a key"
SECRET = "whk_not_for_sending"
COMMANDS = {"python": [sys.executable, "-"], "js": ["node", "--input-type=module", "-"]}


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest_asyncio.fixture
async def base_url(database: DatabaseUrls, keys: Keys) -> AsyncIterator[str]:
    async with database_sessions(database) as sessions, verifier(sessions, keys) as url:
        yield url


@pytest.fixture
def key(keys: Keys) -> SigningSecret:
    return keys.add("key_1", uuid4(), SECRET.encode())


async def send(base_url: str, language: str, secret: str = SECRET) -> dict[str, str]:
    """What the verifier answered to the snippet."""
    if not shutil.which(COMMANDS[language][0]):
        pytest.skip("the JavaScript client needs node")
    account = {"POSTRIDER_URL": base_url, "POSTRIDER_KEY_ID": "key_1", "POSTRIDER_SIGNING_SECRET": secret}
    printed = await asyncio.to_thread(run, COMMANDS[language], snippets(TITLE)[language], **account)
    answer: dict[str, str] = json.loads(printed)
    return answer


@pytest.mark.parametrize("language", COMMANDS)
async def test_the_clients_sign_what_is_let_in(base_url: str, key: SigningSecret, language: str) -> None:
    answers = [await send(base_url, language) for _ in range(2)]

    assert [one["key"] for one in answers] == [str(key.key_id)] * 2


@pytest.mark.parametrize(
    ("language", "says"), [("python", "HTTP Error 401"), ("js", "urn:postrider:error:bad_signature")]
)
async def test_another_secret_is_refused(base_url: str, key: SigningSecret, language: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        await send(base_url, language, "another secret")
