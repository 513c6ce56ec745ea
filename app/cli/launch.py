"""The first process of a container: starts one command of ours, hands signals on to it, and ends as it ended.

It buries whatever orphans are left to it. A worker that was told to end is told so more firmly shortly before its grace
period is over, so that its tasks go back to their queue at once; whoever is killed leaves them to a time limit.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence

GRACE = "POSTRIDER_GRACE_SECONDS"
MARGIN_SECONDS = 10.0
"""What a worker gets for the firm end; where the grace period is short, half of it."""
HANDED_ON = frozenset(
    getattr(signal, f"SIG{name}") for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "TTIN", "TTOU", "WINCH")
)
TO_ALL_OF_A_TERMINAL = frozenset((signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH))
SIGNALLED = 128


def launch(argv: Sequence[str], firm_after: float | None = None) -> int:
    """Runs a program until it ends; what a shell would call its exit status.

    So many seconds after the first SIGTERM it gets a SIGQUIT as well.
    """
    # Blocked, they wait for us; the first process of a container would not get those that it does not handle.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*HANDED_ON, signal.SIGCHLD})
    child = os.posix_spawn(argv[0], list(argv), os.environ, setsigmask=())
    firm_at: float | None = None
    while (status := _bury(child)) is None:
        found = _wait(firm_at)
        if found is None:
            os.kill(child, signal.SIGQUIT)
            firm_at = firm_after = None
        elif not _has_it(found):
            os.kill(child, found.si_signo)
            if found.si_signo == signal.SIGTERM and firm_at is None and firm_after is not None:
                firm_at = time.monotonic() + firm_after
    return SIGNALLED - status if status < 0 else status


def _has_it(found: signal.struct_siginfo) -> bool:
    """Whether the child has a signal already, from a terminal, or is what it tells of."""
    by_kernel = found.si_code > 0
    return found.si_signo == signal.SIGCHLD or (by_kernel and found.si_signo in TO_ALL_OF_A_TERMINAL)


def _wait(until: float | None) -> signal.struct_siginfo | None:
    """The next signal; None when the time has come."""
    waited_for = {*HANDED_ON, signal.SIGCHLD}
    if until is None:
        return signal.sigwaitinfo(waited_for)
    return signal.sigtimedwait(waited_for, max(0.0, until - time.monotonic()))


def _bury(child: int) -> int | None:
    """Takes leave of every process that has ended; how the child did, once it has."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        if pid == 0:
            return None


def firm_after(command: str, environment: Mapping[str, str]) -> float | None:
    """When a command's end turns firm, after it has begun (seconds): a worker's does, if its grace period is known.

    ValueError when that is no number of seconds.
    """
    given = environment.get(GRACE)
    if not given or command != "worker":
        return None
    if not given.isdecimal() or int(given) == 0:
        raise ValueError(f"{GRACE} is a whole number of seconds, the pod's grace period: not {given!r}")
    return max(int(given) - MARGIN_SECONDS, int(given) / 2)


def main() -> int:
    """Runs `postrider` with the words given."""
    words = sys.argv[1:]
    try:
        firm = firm_after(next(iter(words), ""), os.environ)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return launch([sys.executable, "-m", "app.cli.main", *words], firm)


if __name__ == "__main__":
    sys.exit(main())
