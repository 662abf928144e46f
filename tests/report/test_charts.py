"""Charts are valid SVG whose places follow the values."""

from xml.etree import ElementTree

import numpy as np
import pytest

from mink_pd.report.charts import Series, chart


def drawn(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


@pytest.mark.parametrize("log", [False, True])
def test_dots_lie_where_the_values_say(log: bool) -> None:
    x, y = np.array([1.0, 10.0, 1000.0]), np.array([5.0, 7.0, 6.0])
    figure = drawn(chart([Series("a < b", x, y, names=["one", "two", "three"])], "n", "AP", log))
    dots = list(figure.iter("circle"))
    columns, rows = (np.array([float(dot.get(key, "nan")) for dot in dots]) for key in ("cx", "cy"))
    scale = np.log10(x) if log else x
    assert np.corrcoef(columns, scale)[0, 1] == pytest.approx(1, abs=1e-4)
    assert np.corrcoef(rows, -y)[0, 1] == pytest.approx(1, abs=1e-4)  # upwards is a smaller row
    assert [dot[0].text for dot in dots] == ["one: 5", "two: 7", "three: 6"]


def test_a_band_is_as_wide_as_the_interval() -> None:
    figure = drawn(chart([Series("a", [1, 2], [10, 20], [1, 2]), Series("b", [1, 2], [10, 20], colour=1)], "x", "y"))
    (band,) = figure.iter("polygon")
    lines = [line.get("points", "").split() for line in figure.iter("polyline")]
    corners = [tuple(map(float, point.split(","))) for point in band.get("points", "").split()]
    line = [tuple(map(float, point.split(","))) for point in lines[0]]
    per_unit = (line[0][1] - line[1][1]) / 10
    assert corners[0][1] == pytest.approx(line[0][1] - per_unit, abs=0.15)
    assert corners[2][1] == pytest.approx(line[1][1] + 2 * per_unit, abs=0.15)
    assert lines[0] == lines[1]
    assert [text.text for text in figure.iter("text") if text.get("class") == "legend"] == ["a", "b"]


def test_values_that_are_missing_leave_gaps_not_errors() -> None:
    nan = float("nan")
    figure = drawn(chart([Series("a", [1, 2, 3], [nan, 2, 3], [nan, nan, nan])], "x", "y"))
    assert len(list(figure.iter("circle"))) == 2
    assert chart([Series("a", [], [])], "x", "y") == ""
