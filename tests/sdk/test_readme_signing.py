"""The README's clients that sign are run as they stand, against a running system."""

import json
import shutil
import sys
from dataclasses import dataclass

import pytest

from tests.e2e.customer import Caller
from tests.sdk.test_readme import run, snippets
from tests.system import System

TITLE = "Sign requests instead of sending a key"
COMMANDS = {"python": [sys.executable, "-"], "js": ["node", "--input-type=module", "-"]}


@dataclass(frozen=True)
class Signer:
    """A key that signs, and the organisation by a key that is sent."""

    api: Caller
    key_id: str
    secret: str


@pytest.fixture
def signer(system: System) -> Signer:
    api = Caller(system.url, system.new_tenant().key)
    made = api.post("/organisation/api-key", {"name": "signs", "role": "developer", "signs": True})
    return Signer(api, made["id"], made["key"])


def send(system: System, signer: Signer, language: str, secret: str) -> dict[str, str]:
    """What the API answered to the snippet."""
    if not shutil.which(COMMANDS[language][0]):
        pytest.skip("the JavaScript client needs node")
    account = {
        "POSTRIDER_URL": system.url,
        "POSTRIDER_KEY_ID": signer.key_id,
        "POSTRIDER_SIGNING_SECRET": secret,
    }
    answer: dict[str, str] = json.loads(run(COMMANDS[language], snippets(TITLE)[language], **account))
    return answer


@pytest.mark.acceptance("K06")
@pytest.mark.parametrize("language", COMMANDS)
def test_the_clients_sign_what_is_let_in(system: System, signer: Signer, language: str) -> None:
    answers = [send(system, signer, language, signer.secret) for _ in range(2)]

    assert {one["id"] for one in answers} == {signer.api.get("/app/example")["id"]}


@pytest.mark.parametrize(
    ("language", "says"), [("python", "HTTP Error 401"), ("js", "urn:postrider:error:bad_signature")]
)
def test_another_secret_is_refused(system: System, signer: Signer, language: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        send(system, signer, language, "another secret")


def test_a_secret_that_signs_is_not_taken_as_a_bearer(system: System, signer: Signer) -> None:
    assert Caller(system.url, signer.secret).call("GET", "/app").status == 401
