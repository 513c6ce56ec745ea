"""`postrider dev` as a newcomer meets it: real processes, from the first line to the last."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from app.cli.dev.homes import remove_home
from app.cli.dev.identity import Identity, identify, is_alive, marked
from app.cli.dev.ports import any_free
from app.cli.dev.process import wait_until
from tests.canaries import PAYLOAD, keep
from tests.e2e.customer import Caller
from tests.servers import ROOT, Servers

START_SECONDS = 60
SERVERS = ("postgres", "redis")
PAYLOAD_SENT = {"text": f"größer {PAYLOAD}"}
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="postrider-dev-") as name:
        yield Path(name) / "data"
        for log in (Path(name) / "data" / "logs").glob("*.log"):
            if log.stem not in SERVERS:
                keep(log)
        for server in SERVERS:
            remove_home(Path(name) / "data" / server)


class Running:
    """A supervisor that said it is ready."""

    def __init__(self, process: subprocess.Popen[str], data: Path) -> None:
        self.process, self._data = process, data
        self.lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip())
            if "Ctrl-C stops everything" in line:
                return
        pytest.fail("it did not start:\n" + "\n".join(self.lines))

    @property
    def ready(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self._data / "dev.env").read_text().splitlines())

    def post_event(self) -> str:
        """Posts to the demo application with the key that was printed; the message's id."""
        body = json.dumps({"eventType": "demo.hello", "payload": PAYLOAD_SENT}).encode()
        request = Request(f"{self.ready['POSTRIDER_URL']}/api/v1/app/demo/msg", body)  # noqa: S310  # our own server
        request.add_header("authorization", f"Bearer {self.ready['POSTRIDER_API_KEY']}")
        request.add_header("content-type", "application/json")
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            assert answer.status == 202
            message: dict[str, str] = json.load(answer)
        return message["id"]

    def line_with(self, words: str) -> str:
        """The next line that has these words; the timeout of the test bounds the wait."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if words in line:
                return line
        pytest.fail(f"it ended without {words!r}")


@contextmanager
def started(data: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    with subprocess.Popen(
        command(data, *options),
        env=environment or bare_environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Running(process, data)
        finally:
            process.terminate()
            process.communicate(timeout=60)


def refused(data: Path, *options: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The status and the error line of a start that is refused."""
    done = subprocess.run(
        command(data, *options),
        env=environment or bare_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    return done.returncode, done.stderr


def command(data: Path, *options: str) -> list[str]:
    sizes = ["--api-processes=1", "--worker-processes=1"]
    return [sys.executable, "-m", "app.cli.main", "dev", f"--data={data}", *sizes, *options]


def mails(data: Path) -> str:
    """What `postrider mail list` says, once there is a mail."""
    assert wait_until(lambda: list((data / "mail").glob("*.eml")) != [], START_SECONDS)
    words = [sys.executable, "-m", "app.cli.main", "mail", "list", f"--folder={data / 'mail'}"]
    return subprocess.run(words, cwd=ROOT, env=bare_environment(), capture_output=True, text=True, check=True).stdout


def bare_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("POSTRIDER_")}


def pids(data: Path) -> dict[str, Identity]:
    records = [json.loads(file.read_text()) for file in (data / "run").iterdir()]
    return {record["name"]: Identity(**record["identity"]) for record in records}


def is_all_gone(data: Path) -> bool:
    return not marked(str(data)) and not list((data / "run").iterdir()) and not (data / "lock").exists()


def test_an_event_is_delivered_while_parts_crash_until_a_signal_ends_it_all(data: Path) -> None:
    with started(data) as running:
        assert any("event delivered, signature verified" in line for line in running.lines)
        assert f"Base URL  {running.ready['POSTRIDER_URL']}" in running.lines
        assert running.ready["POSTRIDER_URL"].startswith("http://localhost:")
        assert (data / "dev.env").stat().st_mode & 0o077 == 0
        assert sorted(pids(data)) == ["api", "beat", "postgres", "redis", "worker"]

        # All that the README tries: the first key sets policies, too.
        api = Caller(running.ready["POSTRIDER_URL"], running.ready["POSTRIDER_API_KEY"])
        assert api.call("PATCH", "/organisation", {"keyDays": 90}, headers={"if-match": "*"}).status == 200

        # The first owner has no password yet, and signs in by a link.
        assert f"Sign in   {running.ready['POSTRIDER_URL']}/sign-in/link?token=" in "\n".join(running.lines)
        api.call("POST", "/organisation/invitation", {"email": "bob@example.test", "role": "viewer"})
        assert "bob@example.test\tYou are invited to Development" in mails(data)

        status, line = refused(data)
        assert (status, line.count("\n")) == (1, 1)
        assert f"runs here already (pid {running.process.pid})" in line

        os.kill(pids(data)["worker"].pid, signal.SIGKILL)
        assert "starting it again" in running.line_with("worker was killed by signal 9")
        message_id = running.post_event()
        assert "signature verified" in running.line_with(message_id)

        children = pids(data).values()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
    assert is_all_gone(data)
    assert not any(is_alive(child) for child in children)
    assert not (data / "dev.env").exists()


def test_after_a_kill_the_next_start_cleans_up_and_finds_its_data(data: Path) -> None:
    with started(data) as first:
        before, message_id = first.ready, first.post_event()
        first.process.kill()
        first.process.wait()
        assert any("/sign-in/link?token=" in line for line in first.lines)
    with started(data) as second:
        (again,) = [line for line in second.lines if "/sign-in/link?token=" in line]
        assert again not in first.lines
        assert second.ready["POSTRIDER_API_KEY"] == before["POSTRIDER_API_KEY"]
        request = Request(f"{second.ready['POSTRIDER_URL']}/api/v1/app/demo/msg/{message_id}")  # noqa: S310
        request.add_header("authorization", f"Bearer {before['POSTRIDER_API_KEY']}")
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            assert json.load(answer)["payload"] == PAYLOAD_SENT
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(60) == 0
    assert is_all_gone(data)
    home = (data / "postgres").resolve()
    done = subprocess.run(command(data, "--forget"), cwd=ROOT, env=bare_environment(), check=True, capture_output=True)
    assert b"removed the data" in done.stdout
    assert not home.exists()


def test_named_servers_are_used_and_left_running(data: Path, servers: Servers) -> None:
    named = {"POSTRIDER_DATABASE__URL": servers.database_url, "POSTRIDER_REDIS__URL": servers.redis_url}
    with started(data, environment={**bare_environment(), **named}) as running:
        assert [line.split()[:2] for line in running.lines if "yours, at" in line] == [
            ["postgres", "yours,"],
            ["redis", "yours,"],
        ]
        assert not any("hush" in line or _password(servers.database_url) in line for line in running.lines)
        assert sorted(pids(data)) == ["api", "beat", "worker"]
    assert not (data / "postgres").exists()


def test_a_taken_port_is_one_line(data: Path) -> None:
    port = any_free()
    with socket.create_server(("127.0.0.1", port)):
        assert refused(data, f"--port={port}") == (1, f"postrider: port {port} is taken\n")
    assert is_all_gone(data)


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, line = refused(tmp_path / "file")
    assert (status, line.count("\n")) == (1, 1)
    assert "cannot be used" in line


def test_a_file_that_cannot_be_read_is_one_line(data: Path) -> None:
    (data / "state.json").mkdir(parents=True)
    assert refused(data) == (1, f"postrider: {data}/state.json cannot be read: Is a directory\n")
    assert is_all_gone(data)


def test_an_unreachable_database_is_one_line(data: Path) -> None:
    named = {"POSTRIDER_DATABASE__URL": "postgresql://a:hush@127.0.0.1:1/d"}
    status, line = refused(data, environment={**bare_environment(), **named})
    assert (status, line.count("\n")) == (1, 1)
    assert "does not answer" in line
    assert "hush" not in line
    assert is_all_gone(data)


def test_an_unreachable_redis_is_one_line(data: Path, servers: Servers) -> None:
    named = {"POSTRIDER_DATABASE__URL": servers.database_url, "POSTRIDER_REDIS__URL": "redis://:hush@127.0.0.1:1/0"}
    status, line = refused(data, environment={**bare_environment(), **named})
    assert (status, line) == (1, "postrider: Redis at redis://127.0.0.1:1/0 does not answer\n")
    assert is_all_gone(data)


def test_missing_urls_are_a_usage_error(data: Path) -> None:
    named = {"POSTRIDER_DATABASE__URL": "postgresql://a@h/d", "POSTRIDER_DATABASE__WORKER_URL": "postgresql://b@h/d"}
    refusal = refused(data, environment={**bare_environment(), **named})
    assert refusal == (2, "postrider: POSTRIDER_DATABASE__MIGRATOR_URL is not set\n")


def test_it_ends_with_the_make_that_started_it(data: Path) -> None:
    script = f"{' '.join(command(data, '--with-parent'))} & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], cwd=ROOT, env=bare_environment(), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        supervisor = int(parent.stdout.readline())
        assert wait_until((data / "run" / "postgres.pid").exists, START_SECONDS)
        parent.kill()
        assert wait_until(lambda: identify(supervisor) is None, 60)
    assert is_all_gone(data)


def _password(url: str) -> str:
    return url.partition("://")[2].partition("@")[0].partition(":")[2]
