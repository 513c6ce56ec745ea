"""What the probe made is undone, and whoever looks at its end reads the first thing that went wrong."""

import pytest

from app.cli.probe.undoing import undone


def fail() -> None:
    raise OSError("not undone")


def test_what_was_made_is_undone() -> None:
    done: list[str] = []
    with undone(lambda: done.append("undone")):
        done.append("made")
    assert done == ["made", "undone"]


@pytest.mark.parametrize("end", [ValueError, SystemExit])
def test_it_is_undone_whatever_ends_the_block(end: type[BaseException]) -> None:
    done: list[str] = []
    with pytest.raises(end), undone(lambda: done.append("undone")):
        raise end
    assert done == ["undone"]


def test_what_went_wrong_first_is_told() -> None:
    with pytest.raises(ValueError, match="the cause"), undone(fail):
        raise ValueError("the cause")


def test_what_cannot_be_undone_is_told_where_all_else_went_well() -> None:
    with pytest.raises(OSError, match="not undone"), undone(fail):
        pass
