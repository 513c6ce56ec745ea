"""How numbers are written on pictures, by the units that dashboards name."""

from collections.abc import Sequence

_SI: Sequence[tuple[float, str]] = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY: Sequence[tuple[float, str]] = ((2.0**40, " TiB"), (2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"))
_TIMES: Sequence[tuple[float, str]] = (
    (86400.0, " d"),
    (3600.0, " h"),
    (60.0, " min"),
    (1.0, " s"),
    (1e-3, " ms"),
    (1e-6, " µs"),
)


def written(value: float, unit: str) -> str:
    """Three digits and the unit; ValueError for a unit that no dashboard of ours has."""
    if unit == "s":
        return _scaled(value, _TIMES, " s")
    if unit == "bytes":
        return _scaled(value, _BINARY, " B")
    if unit == "percentunit":
        return f"{_digits(value * 100)} %"
    if unit in {"ops", "reqps"}:
        return f"{_scaled(value, _SI, '')}/s"
    if unit == "short":
        return _scaled(value, _SI, "")
    msg = f"nobody has said how to write {unit!r}"
    raise ValueError(msg)


def _scaled(value: float, steps: Sequence[tuple[float, str]], otherwise: str) -> str:
    size, name = next((step for step in steps if abs(value) >= step[0]), (1.0, otherwise))
    return f"{_digits(value / size)}{name}"


def _digits(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 beyond it `g` writes exponents
