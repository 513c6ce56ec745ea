"""Medians, percentiles and spreads."""

import math
from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], part: float, *, scale: float = 1) -> float | None:
    """The smallest value that `part` of the values do not exceed, times `scale`; None of nothing."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * part) - 1)] * scale


def spread(values: Sequence[float]) -> float:
    """How far the rounds lie apart: largest less smallest, as a part of the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0
