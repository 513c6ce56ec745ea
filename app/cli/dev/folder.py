"""The folder that holds everything of one development machine: .postrider/."""

import fcntl
import json
import os
import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from app.cli.dev.errors import DevError


def _password() -> str:
    return secrets.token_urlsafe(24)


def _encryption_key() -> str:
    return b64encode(secrets.token_bytes(32)).decode()


@dataclass
class State:
    """What must be the same the next time: passwords, keys and, where they are free, ports."""

    postgres_password: str = field(default_factory=_password)
    redis_password: str = field(default_factory=_password)
    roles_seed: str = field(default_factory=_password)
    encryption_key: str = field(default_factory=_encryption_key)
    postgres_port: int | None = None
    redis_port: int | None = None
    api_key: str | None = None


class Folder:
    """Opens the folder, making it when it is missing. DevError when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs, self.pids = self.path / "logs", self.path / "run"
        self.ready = self.path / "dev.env"
        self.targets = self.path / "targets.json"
        try:
            self._make()
        except OSError as error:
            msg = f"the folder {error.filename or self.path} cannot be used: {error.strerror}"
            raise DevError(msg) from error

    def _make(self) -> None:
        if not self.path.is_dir():
            self.path.mkdir(parents=True)
            # Root's servers run as another user, who passes through to folders of its own and reads nothing here.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for folder in (self.logs, self.pids):
            folder.mkdir(exist_ok=True, mode=0o700)
        (self.path / "writable").touch()
        (self.path / "writable").unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lets one supervisor at a time work here; DevError names the one that does."""
        path = self.path / "lock"
        descriptor = _lock(path)
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            yield
        finally:
            path.unlink()
            os.close(descriptor)

    def load(self) -> State:
        """The state of last time, or a new one. DevError when the file is no longer what was written."""
        try:
            values = json.loads(self._state_file.read_text())
            known = {one.name for one in fields(State)}
            return State(**{name: value for name, value in values.items() if name in known})
        except FileNotFoundError:
            return State()
        except (ValueError, AttributeError) as error:
            msg = f"{self._state_file} is damaged; `make clean` removes it with its data"
            raise DevError(msg) from error
        except OSError as error:
            msg = f"{self._state_file} cannot be read: {error.strerror}"
            raise DevError(msg) from error

    def save(self, state: State) -> None:
        """Keeps the state for the next time."""
        write_private(self._state_file, json.dumps(asdict(state), indent=1))

    @property
    def _state_file(self) -> Path:
        return self.path / "state.json"


def write_private(path: Path, text: str) -> None:
    """Replaces a file at once by one that nobody else may read."""
    building = path.with_name(f"{path.name}.new")
    building.unlink(missing_ok=True)
    building.touch(mode=0o600)
    building.write_text(text)
    building.replace(path)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 20).decode() or "unknown"
            os.close(descriptor)
            msg = f"Postrider runs here already (pid {owner}): {path.parent}"
            raise DevError(msg) from error
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)  # its owner was just taking it away
