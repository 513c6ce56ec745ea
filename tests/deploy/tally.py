"""What the checks of what is shipped went through: `make chart-check` closes with it."""

from collections import Counter

TALLY: Counter[str] = Counter()
# In the order in which the closing line has them.
COUNTED = ("renders", "manifests", "pod templates", "refusals", "tests in the chart")
LEFT_TO_KIND: set[str] = set()


def count(what: str, number: int = 1) -> None:
    """Notes that so many more of them were looked at."""
    if what not in COUNTED:
        raise ValueError(f"{what} is not counted; {', '.join(COUNTED)} are")
    TALLY[what] += number


def leave_to_kind(component: str) -> None:
    """Notes that nothing here rendered a component: the rehearsal on a cluster does."""
    LEFT_TO_KIND.add(component)


def closing_line() -> str:
    """How many of each, and what was not looked at."""
    looked_at = "looked at " + ", ".join(f"{TALLY[what]} {what}" for what in COUNTED)
    return f"{looked_at}; rendered on kind only: {', '.join(sorted(LEFT_TO_KIND))}" if LEFT_TO_KIND else looked_at
