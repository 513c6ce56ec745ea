"""Who runs the servers: ourselves, or as root an account without rights (PostgreSQL refuses root)."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from app.cli.dev.errors import DevError

_UNPRIVILEGED = "nobody"


class PopenAccount(TypedDict, total=False):
    """The arguments of subprocess that change the user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """A user to become before a server starts."""

    uid: int
    gid: int

    def may(self, right: str, path: Path) -> bool:
        """Whether the account itself may read (-r), write (-w) or enter (-x) a path; asks the kernel as it."""
        tried = subprocess.run(["test", right, path], check=False, cwd="/", **as_popen(self))
        return tried.returncode == 0


def as_popen(account: Account | None) -> PopenAccount:
    """The arguments that make a child run as this account and in no other group; none to stay who we are."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def server_account() -> Account | None:
    """The account to drop to; None when we are an ordinary user and have nothing to drop."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        msg = f"there is no user `{_UNPRIVILEGED}` to run PostgreSQL as; start it as an ordinary user"
        raise DevError(msg) from error
    return Account(entry.pw_uid, entry.pw_gid)
