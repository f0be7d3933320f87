"""The page: alone, deterministic, complete, and safe whatever names say."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from tamis.eval.laboratory.costs import Cost
from tamis.eval.laboratory.report import html_report, overview_table, report_tables
from tamis.eval.laboratory.results import CollectionResult, Results, StepResult, SystemResult

EVIL = "</script><script>alert(1)</script>"
VOID = {"meta", "link", "br", "img", "input", "hr"}


def system(pipeline: str, values: list[float], ms: float | None) -> SystemResult:
    cost = None if ms is None else Cost(3, 2, ms, 2 * ms, 1000 / ms, None, None, 5_000_000, ("segments", "terms"))
    return SystemResult(pipeline, {"nDCG@10": tuple(values), "R@100": tuple(values[::-1])}, "runs/x", "ab", 30, 0, cost)


def results(collections: int = 2, ms: float | None = 1.5) -> Results:
    one = CollectionResult(
        {"key": "index:x:1", "rows": 1234, "generation": 1, "filter": "year > 1999"},
        {"name": "topics.tsv", "queries": 4, "unjudged": 1},
        {"name": "qrels.txt", "queries": 4, "sha256": "0123456789abcdef"},
        ("q1", "q2", "q3", "q4"),
        ("nDCG@10", "R@100"),
        None,
        {
            "bm25": system("bm25", [0.1, 0.2, 0.3, 0.2], ms),
            "better": system(f'bm25 % 10 >> "cross:{EVIL}"', [0.5, 0.7, 0.7, 0.6], None if ms is None else 40.0),
            "worse": system("ql", [0.1, 0.2, 0.3, 0.19], None if ms is None else 3.0),
        },
        (StepResult("bm25 retrieves 1000 for [0]", 4, 0, 0.25),),
        (("unjudged_at_cutoff", f"bm25: {EVIL} 50% without judgement"),),
    )
    named = {f"collection {number}": one for number in range(1, collections + 1)}
    return Results("An <experiment>", ("nDCG@10", "R@100"), 1000, "bm25", named, {"tamis": "0.1", "processors": 2})


class Reader(HTMLParser):
    """Checks that elements nest, and keeps texts, attributes and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data.strip())


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page() -> str:
    return html_report(results())


def test_equal_results_give_equal_bytes(page: str) -> None:
    assert html_report(results()) == page
    assert html_report(Results.from_json(json.loads(json.dumps(results().to_json())))) == page


def test_it_stands_alone(page: str) -> None:
    for tag, attributes in read(page).tags:
        assert tag not in ("link", "iframe", "img")
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    assert "url(http" not in page
    assert "@import" not in page
    ids = [attributes["id"] for _, attributes in read(page).tags if attributes.get("id")]
    own = [name for name in ids if name.startswith(("collection", "results"))]
    assert len(own) == len(set(own)) == 3


def test_names_are_text_and_never_markup(page: str) -> None:
    scripts = [attributes for tag, attributes in read(page).tags if tag == "script"]
    assert len(scripts) == 2
    assert "alert(1)</script>" not in page
    assert "An <experiment>" in read(page).texts
    assert any(EVIL in text for text in read(page).texts)


def test_all_figures_are_in_it_unrounded(page: str) -> None:
    raw = re.search(r'<script type="application/json" id="results">(.*?)</script>', page, re.DOTALL)
    assert raw is not None
    assert json.loads(raw[1]) == json.loads(json.dumps(results().to_json()))
    means = {attributes.get("data-value") for tag, attributes in read(page).tags if tag == "td"}
    assert str(0.625) in means


def test_what_a_reader_looks_for(page: str) -> None:
    text = " ".join(read(page).texts)
    for words in (
        "3 systems, 2 collections", "year > 1999", "1,234 rows", "1 more without judgements left out", "better*", "0.6250",
        "Holm correction", "Work done", "50% without judgement", "no system is both faster", "p95 ms",
    ):  # fmt: skip
        assert words in text, words
    figures = [attributes for tag, attributes in read(page).tags if tag == "figure"]
    assert len(figures) == 4
    assert all(attributes["aria-label"] for attributes in figures)


def test_without_costs_and_with_one_collection_there_is_nothing_empty() -> None:
    page = html_report(results(collections=1, ms=None))
    text = " ".join(read(page).texts)
    assert "Overview" not in text
    assert "p50 ms" not in text
    assert page.count("<figure") == 1


def test_one_system_alone() -> None:
    whole = results(1)
    one = whole.collections["collection 1"]
    from dataclasses import replace

    alone = replace(whole, collections={"c": replace(one, systems={"bm25": one.systems["bm25"]})})
    assert "Differences to" not in html_report(alone)
    assert [title for title, _ in report_tables(alone)] == ["c: quality and cost"]


def test_tables_of_other_forms() -> None:
    named = dict(report_tables(results()))
    assert list(named)[:3] == ["Overview", "collection 1: quality and cost", "collection 1: differences to bm25"]
    overview = overview_table(results())
    assert overview is not None
    assert [cell.text for cell in overview.rows[1]] == ["better", "0.6250", "0.6250", "0.6250"]
    assert overview.rows[1][1].mark == "↑"
    latex = named["collection 1: quality and cost"].render("latex")
    assert r"0.6250$^{\uparrow}$" in latex
    assert "tokens" not in latex  # no system has any
