"""The node's namespaces: what runs in them is kept running, sees a network of its own, and ends with them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.addresses import GITHUB, NODE, RECEIVERS
from tests.cluster.place import ClusterError, NodeProgram, Place, wait_until
from tests.cluster.up import bring_up

SLEEPS = NodeProgram("sleeps", ["sleep", "1000"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if os.geteuid() != 0:
        pytest.skip("namespaces are made by root: run it as root")
    made = Place(tmp_path / "cluster")
    made.begin()
    yield made
    made.end()


@contextmanager
def container() -> Iterator[int]:
    """What Docker makes: the pid of the first process in namespaces of its own."""
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "1000"]
    with subprocess.Popen(words) as outside:
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
        try:
            wait_until(lambda: children.read_text() != "", 10, lambda: "it does not begin")
            yield int(children.read_text())
        finally:
            outside.kill()


def pid(place: Place) -> str:
    return (place.folder / "pids" / SLEEPS.name).read_text()


def test_a_program_that_ends_is_started_again(place: Place) -> None:
    place.start([SLEEPS])
    before = pid(place)
    place.inside(["kill", "-KILL", before])
    wait_until(lambda: pid(place) != before, 10, lambda: "it was not started again")
    assert "sleeps ended with -9: it is started again" in place.log("node")


def test_a_program_that_is_held_stays_away_until_it_is_let_go(place: Place) -> None:
    place.start([SLEEPS])
    place.hold("sleeps")
    assert "sleep" not in place.inside(["ps", "-e", "-o", "comm="])
    place.let_go("sleeps")
    assert "sleep" in place.inside(["ps", "-e", "-o", "comm="])


def test_a_program_that_does_not_get_ready_is_told_with_what_it_wrote(place: Place) -> None:
    words = [sys.executable, "-c", "import time; print('no luck', flush=True); time.sleep(100)"]
    with pytest.raises(ClusterError, match=r"(?s)never is not ready: no luck.*after 1 s"):
        place.start([NodeProgram("never", words, ready=lambda: False, seconds=1)])


def test_nothing_leads_out_of_the_node_and_its_addresses_are_its_own(place: Place) -> None:
    addresses = place.inside(["ip", "-brief", "-4", "address"])
    assert {one.split("/")[0] for one in addresses.split() if "/" in one} == {"127.0.0.1", NODE, GITHUB, *RECEIVERS}
    devices = {line.split("@")[0].split()[0] for line in place.inside(["ip", "-brief", "link"]).splitlines()}
    assert devices == {"lo", "lan0", "lan1"}


def test_an_end_leaves_neither_processes_nor_mounts_nor_files(place: Place) -> None:
    place.start([SLEEPS])
    place.inside(["mount", "-t", "tmpfs", "none", "/mnt"])
    place.end()
    assert not place.is_up()
    assert not place.folder.exists()
    assert str(place.folder) not in Path("/proc/mounts").read_text()
    running = [one for one in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x001000" in _read(one)]
    assert running == []


def test_a_second_one_in_the_same_place_is_refused(place: Place) -> None:
    with pytest.raises(ClusterError, match="make cluster-down"):
        place.begin()


def test_it_is_refused_before_anything_is_compiled(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ClusterError, match="make cluster-down"):
        bring_up(place, small=True, by_kind=False)
    assert capsys.readouterr().out == ""


def test_where_a_container_is_the_node_programs_run_beside_it_in_its_network(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces are made by root: run it as root")
    place = Place(tmp_path / "cluster")
    place.make()
    with container() as first:
        place.begin_in(first)
        try:
            place.start([SLEEPS])
            assert place.is_container
            assert NODE in place.inside(["ip", "-brief", "-4", "address"])
            assert place.inside(["ps", "-e", "-o", "pid=,comm="]).split()[:2] == ["1", "sleep"]
            assert Path(f"/proc/{first}/ns/net").readlink() == Path(f"/proc/{tended(place)}/ns/net").readlink()
        finally:
            place.end()
        assert not place.folder.exists()
        assert Path(f"/proc/{first}").exists()


def tended(place: Place) -> int:
    """The pid, as it is outside, of the process that tends the programs."""
    outside = int((place.folder / "pid").read_text())
    return int(Path(f"/proc/{outside}/task/{outside}/children").read_text())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
