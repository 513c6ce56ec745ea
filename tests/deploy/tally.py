"""What the checks of what is shipped went through: `make chart-check` closes with it."""

from collections import Counter

TALLY: Counter[str] = Counter()
# In the order in which the closing line has them.
COUNTED = ("renders", "manifests", "pod templates", "refusals", "tests in the chart")


def count(what: str, number: int = 1) -> None:
    """Notes that so many more of them were looked at."""
    if what not in COUNTED:
        raise ValueError(f"{what} is not counted; {', '.join(COUNTED)} are")
    TALLY[what] += number


def closing_line() -> str:
    """How many of each."""
    return "looked at " + ", ".join(f"{TALLY[what]} {what}" for what in COUNTED)
