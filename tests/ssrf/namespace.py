"""A network of its own in which every address of the world is this machine."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

NAME_SERVER = "127.0.0.53"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_PREFIX = "postrider-ssrf-"


class Namespace:
    """A network namespace whose loopback device takes all of IPv4 and IPv6, and whose name server is ours."""

    def __init__(self) -> None:
        self.name = f"{_PREFIX}{os.getpid()}"
        self._files = Path("/etc/netns") / self.name

    @property
    def prefix(self) -> Sequence[str]:
        """What stands before a command that is to see the namespace's name server too."""
        return ("ip", "netns", "exec", self.name)

    def create(self) -> None:
        """Makes it. CalledProcessError where the kernel refuses."""
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("-n", self.name, "route", "add", "local", "0.0.0.0/0", "dev", "lo")
        _ip("-n", self.name, "-6", "route", "add", "local", "::/0", "dev", "lo")
        self._files.mkdir(parents=True)
        (self._files / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")

    def delete(self) -> None:
        """Takes it away."""
        shutil.rmtree(self._files, ignore_errors=True)
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and what it starts, is in the namespace for as long as the block runs."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                _enter(there)
                yield
            finally:
                _enter(home)
                os.close(there)
        finally:
            os.close(home)


@contextmanager
def private_network() -> Iterator[Namespace]:
    """A namespace that this thread is in. Skips where there can be none."""
    if os.geteuid() != 0:
        pytest.skip("this machine cannot: network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need iproute2")
    _remove_leftovers()
    namespace = Namespace()
    try:
        try:
            namespace.create()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine cannot: {error.stderr.strip()}")
        with namespace.entered():
            yield namespace
    finally:
        namespace.delete()


def _remove_leftovers() -> None:
    """Takes away what test runs that were killed left behind."""
    for file in Path("/run/netns").glob(f"{_PREFIX}*"):
        pid = file.name.removeprefix(_PREFIX)
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            stale = Namespace()
            stale.name = file.name
            stale.delete()
            shutil.rmtree(Path("/etc/netns") / file.name, ignore_errors=True)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
