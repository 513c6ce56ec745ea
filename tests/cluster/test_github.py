"""The GitHub of a rehearsal is read as the real one is, and takes what is told with its token only."""

import http.client
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.github import TOKEN, GitHub, server
from tests.cluster.identity import Authority
from tests.cluster.place import Place
from tests.servers import ROOT


class Asked:
    """One that runs, and how it is reached."""

    def __init__(self, folder: Path) -> None:
        place = Place(folder)
        authority = Authority(place, "github-ca")
        self.trusted = authority.certificate
        self.github = GitHub(folder / "github")
        self.github.folder.mkdir()
        certificate, key = authority.issue("github", ["127.0.0.1"])
        self.server = server(self.github, ("127.0.0.1", 0), certificate, key)
        self.port: int = self.server.server_address[1]

    def post(self, path: str, body: str, token: str) -> int:
        """The status of the answer."""
        trust = ssl.create_default_context(cafile=self.trusted)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=trust, timeout=10)
        connection.request("POST", path, body, {"Host": "api.github.com", "Authorization": f"Bearer {token}"})
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    def git(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What git says, which knows github.com's authority and calls it by that name."""
        own = {
            "GIT_SSL_CAINFO": str(self.trusted),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": "Host: github.com",
            "GIT_TERMINAL_PROMPT": "0",
        }
        return subprocess.run(["git", *words], env=os.environ | own, capture_output=True, text=True, check=False)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(tmp_path)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_a_repository_is_cloned_and_not_pushed_to(asked: Asked, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", asked.github.repository], check=True)
    subprocess.run(["git", "push", "--quiet", asked.github.repository, "HEAD:refs/heads/main"], cwd=ROOT, check=True)
    url, clone = f"https://127.0.0.1:{asked.port}/postrider/postrider.git", tmp_path / "clone"
    done = asked.git("clone", "--quiet", url, str(clone))
    assert done.returncode == 0, done.stderr
    assert (clone / "argocd" / "appsets" / "app.yaml").exists()
    assert "403" in asked.git("-C", str(clone), "push", "origin", "HEAD:refs/heads/other").stderr


def test_what_happened_is_kept_in_the_order_in_which_it_was_told(asked: Asked) -> None:
    path = "/repos/postrider/postrider/dispatches"
    told = [{"event_type": "rollout-aborted", "client_payload": {"number": number}} for number in range(3)]
    assert [asked.post(path, json.dumps(one), TOKEN) for one in told] == [204, 204, 204]
    assert asked.github.dispatches() == told


def test_nothing_is_taken_from_strangers_and_nothing_that_is_no_json(asked: Asked) -> None:
    path = "/repos/postrider/postrider/dispatches"
    assert asked.post(path, "{}", "another") == 401
    assert asked.post(path, "{", TOKEN) == 422
    assert asked.post("/repos/postrider/other/dispatches", "{}", TOKEN) == 404
    assert asked.github.dispatches() == []
