from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from tamis.errors import UsageError
from tamis.eval.charts import Point, Series, bar_chart, line_chart, scatter_chart

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def lines() -> str:
    series = [
        Series("a $1 <b> & c", [0.0, 1, 2], [0.1, 0.4, 0.2], [0.0, 0.3, 0.1], [0.2, 0.5, 0.3]),
        Series("second", [0.0, 1, 2], [0.2, 0.2, 0.2]),
    ]
    return line_chart(series, x_label="share dropped", y_label="nDCG@10", title="A curve")


def bars() -> str:
    return bar_chart(["one", "two"], {"x": [1.0, 2.0], "y": [2.0, 1.0]}, y_label="count", x_label="bin")


def points() -> str:
    made = [Point("bm25", 1.0, 0.3), Point("bm25 >> cross:" + "long" * 9, 100.0, 0.4), Point("worse", 50.0, 0.2)]
    return scatter_chart(made, x_label="ms", y_label="nDCG@10", frontier=["bm25"], log_x=True)


@pytest.mark.parametrize("draw", [lines, bars, points])
def test_equal_data_give_equal_bytes_that_parse_and_hold_no_date(draw) -> None:
    svg = draw()
    assert svg == draw()
    assert ET.fromstring(svg).tag == f"{SVG}svg"
    assert "metadata" not in svg
    assert "figure_1" not in svg
    for name in re.findall(r'url\(#(.*?)\)|href="#(.*?)"', svg):
        assert f'id="{name[0] or name[1]}"' in svg
    assert "#010203" not in svg
    assert "currentColor" in svg


def test_what_is_written_can_be_read_in_the_drawing() -> None:
    written = texts(lines())
    assert {"a $1 <b> & c", "second", "share dropped", "nDCG@10", "A curve"} <= set(written)
    assert {"one", "two", "count", "bin", "x", "y"} <= set(texts(bars()))
    assert {"bm25", "worse", "bm25 >> cross:longlongl…"} <= set(texts(points()))


def test_a_point_of_the_frontier_is_filled_and_another_is_not() -> None:
    inner = scatter_chart([Point("a", 1.0, 1.0), Point("b", 2.0, 0.5)], x_label="", y_label="", frontier=["a"])
    none = scatter_chart([Point("a", 1.0, 1.0), Point("b", 2.0, 0.5)], x_label="", y_label="")
    assert inner.count("fill: #0072b2") > none.count("fill: #0072b2")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: line_chart([], x_label="", y_label=""), "nothing to draw"),
        (lambda: line_chart([Series("a", [1], [1, 2])], x_label="", y_label=""), "'a'"),
        (lambda: line_chart([Series("a", [], [])], x_label="", y_label=""), "nothing to draw"),
        (lambda: bar_chart([], {}, y_label=""), "nothing to draw"),
        (lambda: bar_chart(["a"], {"s": [1, 2]}, y_label=""), "'s' has 2 values for 1"),
        (lambda: scatter_chart([], x_label="", y_label=""), "nothing to draw"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        draw()
