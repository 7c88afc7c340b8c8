"""Curves and histograms as SVG: the geometry, which the template draws and the script reads out and zooms.

The plotted part is an <svg> of its own in units of the data: x as it is, y from 1 at the bottom to 0 at the top. To
zoom is to change its viewBox.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, date, timedelta
from typing import Literal

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 10, 24
MOST, LETTERS = 400, 40
"""Points of a line; letters below an axis."""
EPOCH = date(1970, 1, 1)
Scale = Literal["linear", "log", "signed", "fraction"]


@dataclass(frozen=True)
class Line:
    """y over x; None where there is nothing."""

    name: str
    x: Sequence[float | int]
    y: Sequence[float | int]
    look: str = "s0"
    """A class of the style sheet: s0 .. s7, data, model, held-out."""
    faint: bool = False
    filled: bool = False


@dataclass(frozen=True)
class Mark:
    """Something that happened at x."""

    x: float | int
    words: str
    look: Literal["stage", "return", "failure"]


@dataclass(frozen=True)
class Chart:
    """Lines on one pair of axes."""

    title: str
    lines: Sequence[Line]
    x_name: str
    scale: Scale = "linear"
    marks: Sequence[Mark] = ()
    link: str = ""
    """Charts of one link are zoomed together."""
    level: float | None = None
    """Where a horizontal rule is."""
    note: str = ""
    names: Sequence[str] = ()
    """What stands at x = 0, 1, ... in place of numbers."""
    dates: bool = False
    """Whether x is days since 1970."""

    @property
    def shown(self) -> list[tuple[Line, np.ndarray, np.ndarray]]:
        """The lines that have points, with x and y."""
        return [(line, x, y) for line in self.lines for x, y in [finite(line)] if len(x)]

    @property
    def x_range(self) -> tuple[float, float]:
        low, high = ends([*(x for _, x, _ in self.shown), np.array([float(mark.x) for mark in self.marks])])
        return (low, high) if low < high else (low - 0.5, high + 0.5)

    @property
    def y_range(self) -> tuple[float, float]:
        """Of scaled values, with a little room."""
        if self.scale == "fraction":
            return -0.03, 1.03
        level = [] if self.level is None else [np.array([self.level])]
        low, high = ends([self.scaled(y) for y in (*(y for _, _, y in self.shown), *level)])
        room = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
        return (min(0.0, low) if self.from_zero else low - room), high + room

    @property
    def from_zero(self) -> bool:
        """Whether what is drawn stands on the bottom: histograms do."""
        return any(line.filled for line in self.lines)

    def scaled(self, y: np.ndarray) -> np.ndarray:
        """As far up as it is drawn, in units of the scale."""
        match self.scale:
            case "log":
                return np.log10(y)
            case "signed":
                return np.arcsinh(y)
            case _:
                return y

    def height(self, y: np.ndarray) -> np.ndarray:
        """From 0 at the top to 1 at the bottom."""
        low, high = self.y_range
        return 1 - (self.scaled(y) - low) / (high - low)

    @property
    def paths(self) -> list[tuple[Line, str]]:
        """Each line as the d of a path; filled ones are closed at the bottom, and a single point is a dot."""
        found = []
        for line, x, y in self.shown:
            points = [f"{a:.6g} {b:.4f}" for a, b in zip(x, np.clip(self.height(y), -1, 2), strict=True)]
            closed = f"M{x[0]:.6g} 1L{'L'.join(points)}L{x[-1]:.6g} 1Z" if line.filled else f"M{'L'.join(points)}"
            found.append((line, closed if len(points) > 1 else closed + "h0"))
        return found

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Places in pixels, and what stands there."""
        low, high = self.x_range
        inside = WIDTH - LEFT - RIGHT
        return [(LEFT + inside * (x - low) / (high - low), self.x_text(x)) for x in self.x_places()]

    def x_places(self) -> list[float]:
        """Round values of x; whole ones where x is counted."""
        low, high = self.x_range
        if self.names:
            return [float(k) for k in range(len(self.names))]
        places = dates(low, high) if self.dates else steps(low, high, 4)
        counted = all((x % 1 == 0).all() for _, x, _ in self.shown)
        return [x for x in places if x % 1 == 0] if counted else places

    def x_text(self, x: float | int) -> str:
        """What stands at a place below."""
        if self.names:
            name = self.names[int(x)]
            most = max(4, LETTERS // len(self.names))
            return name if len(name) <= most else name[: most - 1] + "…"
        return str(EPOCH + timedelta(days=round(x))).removesuffix("-01-01") if self.dates else number(x)

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        inside = HEIGHT - TOP - BOTTOM
        places = self.y_places()
        heights = self.height(np.array(places, dtype=float))
        return [(TOP + inside * h, number(y)) for y, h in zip(places, heights, strict=True) if -1e-9 <= h <= 1 + 1e-9]

    def y_places(self) -> list[float]:
        """Round values of y."""
        low, high = self.y_range
        match self.scale:
            case "fraction":
                return [0.0, 0.25, 0.5, 0.75, 1.0]
            case "log" if high - low > 0.7:
                every = max(1, math.ceil((high - low) / 4))
                between = (1, 2, 5) if high - low < 2 else (1,)
                decades = range(math.floor(low), math.floor(high) + 1, every)
                return [m * 10.0**k for k in decades for m in between]
            case "log":
                return steps(10**low, 10**high, 4)
            case "signed" if max(-low, high) > math.asinh(10):
                top = math.floor(math.log10(math.sinh(max(-low, high))))
                decades = [10.0**k for k in range(top, -1, -max(1, math.ceil(top / 2)))]
                places = [*(-y for y in decades), 0.0, *reversed(decades)]
                return places if low < 0 < high else steps(math.sinh(low), math.sinh(high), 4)
            case "signed":
                return steps(math.sinh(low), math.sinh(high), 4)
            case _:
                return steps(low, high, 4)

    @property
    def level_height(self) -> float | None:
        """Where the rule is, in pixels."""
        if self.level is None:
            return None
        return TOP + (HEIGHT - TOP - BOTTOM) * self.height(np.array([self.level])).item()

    @property
    def summary(self) -> str:
        """What a reader who does not see it is told."""
        parts = [
            f"{line.name}: {number(float(y[0]))} at {number(float(x[0]))}, {number(float(y[-1]))} at "
            f"{number(float(x[-1]))}, lowest {number(float(y.min()))}, highest {number(float(y.max()))}"
            for line, x, y in self.shown
            if not line.faint
        ]
        return "; ".join([*parts, *(f"{mark.words} at {number(mark.x)}" for mark in self.marks)])

    @property
    def data(self) -> Markup:
        """What the script reads out, as JSON that can stand in HTML."""
        lines = [
            {"name": line.name, "look": line.look, "x": rounded(x, 6), "y": rounded(y, 4)}
            for line, x, y in self.shown
            if not line.faint
        ]
        marks = [{"x": mark.x, "words": mark.words} for mark in self.marks]
        y = self.y_range if self.scale == "linear" else None
        x = {"x": self.x_range, "name": self.x_name, "names": self.names, "dates": self.dates}
        return safe_json(x | {"y": y, "lines": lines, "marks": marks})


def finite(line: Line) -> tuple[np.ndarray, np.ndarray]:
    """The points of a line that are numbers, evenly thinned where there are many."""
    x, y = np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST)).round().astype(int)) if len(x) else []
    return x[kept], y[kept]


def ends(columns: Sequence[np.ndarray]) -> tuple[float, float]:
    """The smallest and the largest value of all."""
    every = np.concatenate([column[np.isfinite(column)] for column in columns] or [np.zeros(1)])
    return (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)


def steps(low: float | int, high: float | int, most: int) -> list[float]:
    """Round numbers from low to high, about as many as asked for.

    >>> steps(0, 1, 4), steps(3, 98, 4)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [25.0, 50.0, 75.0])
    """
    if not 0 < high - low < math.inf:
        return [float(low)]
    unit = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if (high - low) / (unit * m) <= most + 1e-9)
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def dates(low: float | int, high: float | int) -> list[float]:
    """Days since 1970 on which round years begin; of a short time, round numbers of days.

    >>> dates(0, 20 * 365), dates(0, 90)
    ([0.0, 3652.0], [0.0, 50.0])
    """
    first, last = (EPOCH.year + days / 365.2425 for days in (low, high))
    if last - first < 4:
        return steps(low, high, 3)
    years = [int(year) for year in steps(first, last, 3) if 1 <= year <= MAXYEAR]
    return [float((date(year, 1, 1) - EPOCH).days) for year in years]


def number(value: float | int) -> str:
    """A number as people write it.

    >>> number(12000.0), number(0.25), number(-3.14159), number(2.5e-7)
    ('12,000', '0.25', '−3.142', '2.5e−7')
    """
    if math.isfinite(value) and value == int(value) and abs(value) < 1e9:
        text = f"{int(value):,}"
    else:
        text = f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return text.replace("-", "−")


def rounded(values: np.ndarray, digits: int) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values]


def safe_json(value: object) -> Markup:
    """JSON in which no tag can begin or end."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))


def histogram(name: str, values: np.ndarray, edges: np.ndarray, look: str, filled: bool = False) -> Line:
    """Share of the values in each bin, those beyond in the outermost, as steps."""
    share = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(1, len(values))
    return Line(name, np.repeat(edges, 2)[1:-1].tolist(), np.repeat(share, 2).tolist(), look, filled=filled)


def edges_of(columns: Sequence[np.ndarray], bins: int) -> np.ndarray:
    """Edges of equal bins that hold all but the outermost half percent of every column of finite values."""
    found = [np.quantile(column, (0.005, 0.995)) for column in columns if len(column)] or [np.array([0.0, 1.0])]
    low, high = min(pair[0] for pair in found), max(pair[1] for pair in found)
    room = 0.02 * (high - low) or 0.5
    return np.linspace(low - room, high + room, bins + 1)
