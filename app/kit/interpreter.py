"""The interpreter of a process that lives long and makes many small objects."""

import gc
import sys

_OBJECTS, _YOUNG_RUNS, _MIDDLE_RUNS = 50_000, 20, 100
_SWITCH_SECONDS = 0.0005


def collect_seldom() -> None:
    """Lets the garbage collector run less often.

    With the default thresholds the start of a process spends a sixth of its time on looking through modules and classes
    for garbage, and a busy one a third.
    """
    gc.set_threshold(_OBJECTS, _YOUNG_RUNS, _MIDDLE_RUNS)


def settle() -> None:
    """Takes the objects that are there now, which stay, out of the garbage collector's way; it runs seldom from now on.

    Call it once the process is ready.
    """
    gc.collect()
    gc.freeze()
    collect_seldom()


def share_among_threads() -> None:
    """Lets a thread that has waited for the network go on after half a millisecond, instead of five."""
    sys.setswitchinterval(_SWITCH_SECONDS)
