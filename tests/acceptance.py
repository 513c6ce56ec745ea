"""Counts the rows of the acceptance table that hold: a row holds when it has tests and all of them pass."""

from collections.abc import Generator

import pytest

ROWS = (
    *(f"G{number:02}" for number in range(1, 5)),
    *(f"H{number:02}" for number in range(1, 15)),
    *(f"I{number:02}" for number in range(1, 12)),
    *(f"K{number:02}" for number in range(1, 11)),
    *(f"L{number:02}" for number in range(1, 6)),
    *(f"M{number:02}" for number in range(1, 11)),
    *(f"O{number:02}" for number in range(1, 23)),
    *(f"P{number:02}" for number in range(1, 15)),
    *(f"S{number:02}" for number in range(1, 11)),
    *(f"T{number:02}" for number in range(1, 16)),
    *(f"W{number:02}" for number in range(1, 15)),
    *(f"Z{number:02}" for number in range(1, 12)),
)


class Acceptance:
    """A plugin for the runs that `make acceptance` makes: tests name their rows by a marker."""

    def __init__(self) -> None:
        self._held: dict[str, bool] = {}
        self._not_offered: set[str] = set()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Notes what a test says of its rows."""
        report = yield
        if report.when == "call" or not report.passed:
            for marker in item.iter_markers("acceptance"):
                self._note(marker.args[0], report.passed, offered=marker.kwargs.get("offered", True))
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints each row and the count."""
        terminalreporter.section("acceptance")
        for row in ROWS:
            terminalreporter.line(f"{row}  {self._verdict(row)}")
        terminalreporter.line(f"{self._holding()} of {len(ROWS)} hold")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A row that does not hold is a failure, even when it merely has no test."""
        if self._holding() < len(ROWS) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _note(self, row: str, passed: bool, *, offered: bool) -> None:  # noqa: FBT001  # pytest's own flag
        if row not in ROWS:
            raise pytest.UsageError(f"{row} is no row of the acceptance table")
        self._held[row] = self._held.get(row, True) and passed
        if not offered:
            self._not_offered.add(row)

    def _verdict(self, row: str) -> str:
        verdict = {True: "holds", False: "does NOT hold", None: "has no test"}[self._held.get(row)]
        return f"{verdict} (not offered)" if row in self._not_offered else verdict

    def _holding(self) -> int:
        return sum(self._held.get(row, False) for row in ROWS)
