"""The whole Postrider through real processes: gunicorn, Celery and beat, run as the supervisor runs them."""

import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.errors import DevError
from app.cli.dev.ports import any_free, free_range
from app.cli.dev.process import Child, Program, wait_until
from app.kit.db import make_engine, make_sessions
from tests.api.client import Tenant, new_tenant
from tests.canaries import keep
from tests.servers import ROOT

POSTRIDER = (sys.executable, "-m", "app.cli.main")
START_SECONDS = 60.0
MANAGEMENT_PORTS = 6
RANKS = {"beat": 10, "worker": 20, "api": 30}


class System:
    """The processes of one installation. Use it from the main thread, on which the children's lives hang."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        sessions: sessionmaker[Session],
        command: Sequence[str],
    ) -> None:
        self.environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._command = command
        self.sessions = sessions
        self._folder = folder
        self.children: dict[str, Child] = {}
        self._port = any_free()
        self._management: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self._port}"

    def start(self, *, api: int = 2, workers: int = 2) -> None:
        """Starts all parts; returns when the API is healthy."""
        self.environment["POSTRIDER_PUBLIC_URL"] = self.url
        self.start_part("worker", f"--processes={workers}")
        self.start_part("beat", f"--schedule={self._folder / 'beat'}")
        self.start_api(api)

    def start_api(self, processes: int) -> None:
        """Starts so many processes of the API; returns when it is healthy."""
        self.environment["POSTRIDER_PUBLIC_URL"] = self.url
        self.start_part("api", f"--port={self._port}", f"--workers={processes}", "--drain-seconds=5")
        self.wait_healthy()

    def start_part(self, part: str, *options: str) -> Child:
        """Starts the API, a worker or beat with these options, and a new log."""
        keep(self._folder / f"{part}.log")
        (self._folder / f"{part}.log").unlink(missing_ok=True)
        program = Program(
            name=part,
            argv=[*self._command, part, *options],
            log=self._folder / f"{part}.log",
            rank=RANKS[part],
            env=self.environment | self._managed(part),
            cwd=ROOT,
            stop_seconds=20,
        )
        self.children[part] = Child(program, self._folder)
        return self.children[part]

    def management_ports(self, part: str) -> range:
        """Those on which a part's processes tell of themselves, each on the first that was free."""
        first = self._management[part]
        return range(first, first + MANAGEMENT_PORTS)

    def wait_healthy(self) -> None:
        """Returns when the API answers that it is well. DevError when a part ends or it takes too long."""
        came = wait_until(lambda: self._ended() is not None or self._is_healthy(), START_SECONDS)
        ended = self._ended()
        if ended or not came:
            raise DevError("\n".join(f"{name}: {child.last_words()}" for name, child in self.children.items()))

    def stop(self) -> None:
        """Ends every process, the lowest rank first."""
        for child in sorted(self.children.values(), key=lambda one: one.program.rank):
            child.stop()
            keep(child.program.log)
        self.children.clear()

    def log(self, part: str) -> str:
        """What a part has written."""
        return (self._folder / f"{part}.log").read_text(errors="replace")

    def new_tenant(self) -> Tenant:
        """A fresh organisation with a key."""
        return new_tenant(self.sessions)

    def _managed(self, part: str) -> dict[str, str]:
        first = self._management.setdefault(part, free_range(MANAGEMENT_PORTS))
        return {"POSTRIDER_TELEMETRY__PORT": str(first), "POSTRIDER_TELEMETRY__PORTS": str(MANAGEMENT_PORTS)}

    def _ended(self) -> Child | None:
        return next((child for child in self.children.values() if child.ended() is not None), None)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/health", timeout=5) as answer:  # noqa: S310  # our own
                healthy: bool = answer.status in {200, 204}
                return healthy
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def prepared_system(environment: Mapping[str, str], command: Sequence[str] = POSTRIDER) -> Iterator[System]:
    """A system of which nothing runs yet; what is started in the block, by the command, is ended with it."""
    engine = make_engine(environment["POSTRIDER_DATABASE__WORKER_URL"], pool_size=2)
    with tempfile.TemporaryDirectory(prefix="postrider-system-") as folder:
        system = System(environment, Path(folder), make_sessions(engine), command)
        try:
            yield system
        finally:
            system.stop()
            engine.dispose()


@contextmanager
def running_system(environment: Mapping[str, str], *, api: int = 2, workers: int = 2) -> Iterator[System]:
    """A system of which every part runs."""
    with prepared_system(environment) as system:
        system.start(api=api, workers=workers)
        yield system
