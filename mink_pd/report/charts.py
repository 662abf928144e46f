"""Small charts as inline SVG: lines with a band, points with error bars. The page's style sheet sets the colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

COLOURS = 7  # number of colours in the page's style sheet, --c0 to --c6
_WIDTH, _HEIGHT = 360, 240  # of the drawing, in its own units
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 38


@dataclass
class Series:
    """One line or one set of points of a chart."""

    name: str  # in the legend
    x: Sequence[float]  # (n,)
    y: Sequence[float]  # (n,)
    half: Sequence[float] | None = None  # (n,) half widths of the intervals; nan for a point without one
    names: Sequence[str] | None = None  # (n,) labels of the points
    colour: int = 0  # number in the style sheet
    line: bool = True  # whether a line joins the points

    @property
    def spread(self) -> np.ndarray:
        """Half widths (n,), 0 for a point without an interval."""
        return np.nan_to_num(np.asarray(self.half, float)) if self.half is not None else np.zeros(len(self.y))


def chart(series: list[Series], x_label: str, y_label: str, log: bool = False, title: str = "") -> str:
    """One chart with a legend, as an SVG element that scales to its container; empty if there are no points.

    log: make the x axis logarithmic if all values are positive.
    """
    series = [one for one in series if len(one.x)]
    if not series:
        return ""
    x = _Axis(np.concatenate([np.asarray(one.x, float) for one in series]), _LEFT, _WIDTH - _RIGHT, log)
    values = [np.asarray(one.y, float) + side * one.spread for one in series for side in (-1, 1)]
    y = _Axis(np.concatenate(values), _HEIGHT - _BOTTOM, _TOP, False)
    legend = [one.name for one in series] if len(series) > 1 else []
    height = _HEIGHT + 18 * len(legend) + 8 * bool(legend)
    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title or y_label)}">']
    parts += _grid(x, y, x_label)
    for one in series:
        parts += _line(one, x, y) if one.line else []
        parts += _points(one, x, y)
    for number, one in enumerate(series if legend else []):
        row = _HEIGHT + 18 * number + 14
        parts.append(f'<rect class="f{one.colour}" x="{_LEFT}" y="{row - 4}" width="14" height="4" rx="2"/>')
        parts.append(f'<text class="legend" x="{_LEFT + 20}" y="{row + 2}">{escape(one.name)}</text>')
    figure = "".join(parts) + "</svg>"
    return f"<figure><figcaption>{escape(title or y_label)}</figcaption>{figure}</figure>"


class _Axis:
    """Maps values to positions in the drawing, with a margin at both ends."""

    def __init__(self, values: np.ndarray, start: float, end: float, log: bool) -> None:
        values = values[np.isfinite(values)]
        self.log = log and bool(len(values)) and float(values.min()) > 0
        values = np.log10(values) if self.log else values
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        room = 0.05 * (high - low) or max(0.05 * abs(high), 0.05)
        self.low, self.high, self.start, self.end = low - room, high + room, start, end
        self.known = sorted(set(values.tolist()))

    def __call__(self, value: float) -> float:
        value = math.log10(value) if self.log else value
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Values and their labels: round numbers, or on a logarithmic axis the values of the points."""
        if self.log:
            few = self.known if len(self.known) <= 6 else [self.known[0], self.known[-1]]
            return [(10**value, _number(10**value)) for value in few]
        whole = all(value == round(value) for value in self.known)
        values = [
            v for v in MaxNLocator(5, integer=whole).tick_values(self.low, self.high) if self.low <= v <= self.high
        ]
        return [(float(v), _number(float(v))) for v in values]


def _grid(x: _Axis, y: _Axis, x_label: str) -> list[str]:
    parts = []
    for value, text in y.ticks():
        row = y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{row}" y2="{row}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{row + 3.5}">{text}</text>')
    for value, text in x.ticks():
        parts.append(f'<text class="tick mid" x="{x(value)}" y="{_HEIGHT - _BOTTOM + 15}">{text}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="tick mid" x="{middle}" y="{_HEIGHT - _BOTTOM + 29}">{escape(x_label)}</text>')
    return parts


def _line(one: Series, x: _Axis, y: _Axis) -> list[str]:
    points = [(x(a), b, s) for a, b, s in zip(one.x, one.y, one.spread, strict=True) if math.isfinite(b)]
    up, down = ([f"{a},{y(b + side * s)}" for a, b, s in points] for side in (1, -1))
    band = f'<polygon class="band f{one.colour}" points="{" ".join([*up, *reversed(down)])}"/>'
    line = f'<polyline class="line s{one.colour}" points="{" ".join(f"{a},{y(b)}" for a, b, _ in points)}"/>'
    return [band, line] if one.names is None and one.spread.any() else [line]


def _points(one: Series, x: _Axis, y: _Axis) -> list[str]:
    """Large dots with error bars for named points, small dots for the epochs of a line."""
    parts = []
    for number, (a, b, s) in enumerate(zip(one.x, one.y, one.spread, strict=True)):
        if not math.isfinite(b):
            continue
        tip = f"{one.names[number] if one.names else one.name}: {_number(b)}" + (f" ± {_number(s)}" if s else "")
        if one.names and s:
            parts.append(f'<line class="bar s{one.colour}" x1="{x(a)}" x2="{x(a)}" y1="{y(b - s)}" y2="{y(b + s)}"/>')
        radius = 4 if one.names else 2.2 if len(one.x) <= 20 else 1
        dot = f'<circle class="f{one.colour}" cx="{x(a)}" cy="{y(b)}" r="{radius}">'
        parts.append(f"{dot}<title>{escape(tip)}</title></circle>")
    return parts


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−") if abs(value) < 1000 else f"{value:,.0f}"
