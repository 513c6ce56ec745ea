"""What the process of the tests has counted, as a scraper would read it."""

from dataclasses import dataclass, field

from prometheus_client import REGISTRY


def total(name: str, **labels: str) -> float:
    """The sum of the samples of that name that have these labels."""
    return sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@dataclass
class Counted:
    """How much a counter rose since this was made."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._before = total(self.name, **self.labels)

    @property
    def more(self) -> float:
        """By now."""
        return total(self.name, **self.labels) - self._before


def counting(name: str, **labels: str) -> Counted:
    """Begins to count."""
    return Counted(name, labels)
