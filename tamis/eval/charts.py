"""Charts as SVG text, drawn by matplotlib (extra ``report``): lines with intervals, bars, points with a frontier.

Equal data give equal bytes: no date, no random ids. What is not data (axes, text) takes the colour of the text around the
drawing (``currentColor``), so that a page may be dark or light, and letters stay letters that can be searched and read aloud.
Colours are Okabe and Ito's, which people with any colour vision tell apart; a second mark (dashes, marker) repeats them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.errors import PrerequisiteError, UsageError

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_INK = "#010203"  # stands for the colour of the text around; no series has it
_SIZE = (6.4, 3.6)
_SHORT = 24


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart.

    Attributes:
        name: as the legend says it.
        x: places, float [n].
        y: values, float [n]; a NaN breaks the line.
        low: lower ends of intervals, float [n]; None for none.
        high: upper ends.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One named point of a chart."""

    name: str
    x: float
    y: float


def line_chart(series: Sequence[Series], *, x_label: str, y_label: str, title: str = "", log_x: bool = False) -> str:
    """Return a chart of lines, with a band where a series has intervals.

    Raises:
        PrerequisiteError: matplotlib is not installed.
        UsageError: there is nothing to draw, or a series has as many places as not values.
    """
    for line in series:
        lengths = {len(values) for values in (line.x, line.y, line.low, line.high) if values is not None}
        if len(lengths) != 1:
            raise UsageError(f"series {line.name!r}: places, values and intervals are of different length")
    if not any(len(line.x) for line in series):
        raise UsageError("there is nothing to draw: no series has a point")
    figure, axes = _canvas(x_label, y_label, title)
    for number, line in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            line.x, line.y, color=colour, linestyle=_DASHES[number % len(_DASHES)], linewidth=1.6,
            marker=_MARKERS[number % len(_MARKERS)], markersize=3.5, label=_plain(line.name),
        )  # fmt: skip
    if log_x:
        _logarithmic(axes)
    return _svg(figure, axes, legend=len(series) > 1)


def bar_chart(
    categories: Sequence[str],
    values: Mapping[str, Sequence[float]],
    *,
    y_label: str,
    x_label: str = "",
    title: str = "",
) -> str:
    """Return a chart of bars, side by side where there are several series.

    Args:
        categories: names along the x axis.
        values: series by name, one value a category.
        y_label: of the y axis.
        x_label: of the x axis.
        title: above the chart.

    Raises:
        PrerequisiteError: matplotlib is not installed.
        UsageError: there is nothing to draw, or a series has not one value a category.
    """
    if not categories or not values:
        raise UsageError("there is nothing to draw: no categories or no values")
    for name, series in values.items():
        if len(series) != len(categories):
            raise UsageError(f"series {name!r} has {len(series)} values for {len(categories)} categories")
    figure, axes = _canvas(x_label, y_label, title)
    places = np.arange(len(categories))
    width = 0.8 / len(values)
    for number, (name, series) in enumerate(values.items()):
        left = places + (number - (len(values) - 1) / 2) * width
        axes.bar(left, series, width, color=COLOURS[number % len(COLOURS)], label=_plain(name))
    labels = [_shortened(category) for category in categories]
    crowded = sum(map(len, labels)) > 60
    axes.set_xticks(places, labels, rotation=35 if crowded else 0, ha="right" if crowded else "center")
    return _svg(figure, axes, legend=len(values) > 1)


def scatter_chart(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    frontier: Iterable[str] = (),
    log_x: bool = False,
) -> str:
    """Return a chart of named points; those on the frontier are filled and joined by steps.

    Args:
        points: what to draw.
        x_label: of the x axis.
        y_label: of the y axis.
        title: above the chart.
        frontier: names of the points that no other beats, see `tamis.eval.pareto`.
        log_x: whether the x axis is logarithmic.

    Raises:
        PrerequisiteError: matplotlib is not installed.
        UsageError: there is nothing to draw.
    """
    if not points:
        raise UsageError("there is nothing to draw: no points")
    figure, axes = _canvas(x_label, y_label, title)
    best = set(frontier)
    if log_x:
        _logarithmic(axes)
    edge = sorted((point.x, point.y) for point in points if point.name in best)
    if edge:
        axes.step(*zip(*edge, strict=True), where="post", color=COLOURS[0], linewidth=1, alpha=0.6)
    for point in points:
        filled = COLOURS[0] if point.name in best else "none"
        axes.plot(point.x, point.y, "o", markersize=6, markerfacecolor=filled, markeredgecolor=COLOURS[0])
    axes.margins(x=0.12, y=0.14)
    left, right = axes.get_xlim()
    for point in sorted(points, key=lambda p: (p.y, p.name)):
        # a name goes to the side where there is room for it
        share = _share(point.x, left, right, log_x)
        axes.annotate(
            _plain(_shortened(point.name)), (point.x, point.y), textcoords="offset points",
            xytext=(7, 3) if share < 0.6 else (-7, 3), ha="left" if share < 0.6 else "right", fontsize=8, color=_INK,
        )  # fmt: skip
    return _svg(figure, axes, legend=False)


def _logarithmic(axes: Any) -> None:
    """A logarithmic x axis with numbers that are written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log and min(value, low, high) > 0:
        value, low, high = np.log(value), np.log(low), np.log(high)
    return float((value - low) / (high - low)) if high > low else 0.5


def _canvas(x_label: str, y_label: str, title: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PrerequisiteError(
            "drawing needs matplotlib, which is not installed: pip install 'tamis[report]'"
        ) from error
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(_plain(x_label), color=_INK)
    axes.set_ylabel(_plain(y_label), color=_INK)
    if title:
        axes.set_title(_plain(title), color=_INK, fontsize=10)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    return figure, axes


def _svg(figure: Any, axes: Any, *, legend: bool) -> str:
    import matplotlib as mpl

    if legend:
        axes.legend(
            frameon=False, fontsize=8, labelcolor=_INK, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderpad=0.2
        )
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    buffer = io.BytesIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "tamis", "font.family": "sans-serif", "text.usetex": False}
    with mpl.rc_context(settings):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r"#([A-Za-z][\w.-]*)", text))  # other ids would stand twice in a page with two drawings
    text = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", text)
    return text.replace(_INK, "currentColor").rstrip() + "\n"


def _plain(text: str) -> str:
    """A text without matplotlib's formulas: a dollar is a dollar."""
    return text.replace("$", r"\$")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
