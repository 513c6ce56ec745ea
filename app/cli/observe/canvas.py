"""What pictures are drawn on: boxes on a grid, few colours, and a small file."""

import io
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageColor

CURVES = (
    "#3274d9",
    "#56a64b",
    "#e0752d",
    "#a352cc",
    "#1fa7a7",
    "#c4a000",
    "#e02f73",
    "#6b7280",
    "#7c5b3a",
    "#0b3d91",
)
RED, GREEN, DARK, GREY, FAINT, BACK = "#d92d20", "#2f9e44", "#1f2933", "#6b7280", "#d7dbe0", "#f4f5f7"
GAP = 0.09
_COLUMNS = 24
_COLUMN, _LINE, HEAD = 0.5, 0.36, 0.74
"""Inches: a column and a line of the grid, and the head of a picture."""
_DPI, _SHADES, _POINTS_IN_INCH = 100, 5, 72

_PACKED = np.array([65536, 256, 1])
Numbers = npt.NDArray[np.int32]


def sheet(lines: int) -> Figure:
    """An empty picture, so many lines of the grid high."""
    return Figure(figsize=(_COLUMNS * _COLUMN + GAP, HEAD + lines * _LINE), facecolor=BACK)


class Box:
    """A place on a picture, in inches from its upper left corner."""

    def __init__(self, figure: Figure, left: float, top: float, width: float, height: float) -> None:
        self.figure, self.width, self.height = figure, width, height
        self._left, self._top = left, top

    @classmethod
    def on_grid(cls, figure: Figure, place: Mapping[str, int]) -> Self:
        """Where the dashboard has it, with a gap to its neighbours."""
        left, top = place["x"] * _COLUMN + GAP, HEAD + place["y"] * _LINE
        return cls(figure, left, top, place["w"] * _COLUMN - GAP, place["h"] * _LINE - GAP)

    def axes(self, left: float = 0, top: float = 0, right: float = 0, bottom: float = 0) -> Axes:
        """Axes with so much room at each side."""
        width, height = self.figure.get_size_inches()
        under = height - self._top - self.height + bottom
        place = (
            (self._left + left) / width,
            under / height,
            (self.width - left - right) / width,
            (self.height - top - bottom) / height,
        )
        return self.figure.add_axes(place)

    def frame(self) -> None:
        """A sheet to draw on."""
        sheet = self.axes()
        sheet.set(facecolor="white", xticks=[], yticks=[])
        sheet.spines[:].set_color(FAINT)

    def write(self, text: str, down: float, right: float = GAP, **style: Any) -> None:  # noqa: ANN401 as its target has it
        """Writes from a place on, `down` inches to the foot of the first line."""
        width, height = self.figure.get_size_inches()
        lift = 1 - (self._top + down - style["size"] / _POINTS_IN_INCH) / height
        self.figure.text((self._left + right) / width, lift, text, va="top", **style)

    def say(self, text: str) -> None:
        """Writes into the middle."""
        width, height = self.figure.get_size_inches()
        x, y = self._left + self.width / 2, self._top + self.height / 2
        self.figure.text(x / width, 1 - y / height, text, ha="center", va="center", size=8, color=GREY)


def png(figure: Figure) -> bytes:
    """The picture as a small file: each colour becomes the nearest of few."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI)
    with Image.open(drawn) as whole:
        parts = np.asarray(whole.convert("RGB"), dtype=np.int32)
    found, places = np.unique(parts @ _PACKED, return_inverse=True)
    few = _few()
    apart = (found[:, None] // _PACKED % 256)[:, None] - few
    nearest = (apart**2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    image = Image.fromarray(nearest[places].reshape(parts.shape[:2]), "P")
    image.putpalette(few.astype(np.uint8).tobytes())
    image.save(small, "png", optimize=True)
    return small.getvalue()


def _few() -> Numbers:
    """White, and each colour of ours with its shades towards it."""
    ours = np.array([ImageColor.getrgb(one) for one in (BACK, FAINT, GREY, DARK, RED, GREEN, *CURVES)])
    shares = np.arange(1, _SHADES + 1)[:, None, None] / _SHADES
    shades = 255 - (255 - ours) * shares
    return np.vstack([[255, 255, 255], shades.reshape(-1, 3)]).round().astype(np.int32)
