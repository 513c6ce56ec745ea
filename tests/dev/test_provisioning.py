"""How the tests themselves find servers, and what CI does with a skip."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import ROOT, docker_answers

SKIPPING = """
import pytest

def test_it():
    pytest.skip({reason!r})
"""


@contextmanager
def engine(answer: bytes) -> Iterator[str]:
    """Something that listens where a Docker engine would."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/docker.sock")
        server.listen()
        thread = threading.Thread(target=_answer_once, args=(server, answer))
        thread.start()
        yield f"unix://{folder}/docker.sock"
        thread.join()


def test_an_engine_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(b"HTTP/1.1 200 OK\r\n\r\nOK") as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        assert docker_answers()


def test_an_engine_that_refuses_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with engine(b"HTTP/1.1 503 Service Unavailable\r\n\r\n") as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        assert not docker_answers()


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_no_engine_is_no_error(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert not docker_answers()


@pytest.mark.parametrize(
    ("ci", "reason", "outcome"),
    [
        ("true", "node is not installed", "1 failed"),
        ("true", "this machine cannot: no network namespaces", "1 skipped"),
        ("", "node is not installed", "1 skipped"),
    ],
)
def test_ci_leaves_out_only_what_no_package_brings(tmp_path: Path, ci: str, reason: str, outcome: str) -> None:
    module = tmp_path / "test_skip.py"
    module.write_text(SKIPPING.format(reason=reason))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-c",
        f"{ROOT}/pyproject.toml",
        str(module),
    ]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False)
    assert outcome in done.stdout.splitlines()[-1]


def _answer_once(server: socket.socket, answer: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(1000)
        client.sendall(answer)
