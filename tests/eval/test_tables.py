"""Tables: each spelling reads back, shows four decimals and explains its marks."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from tamis.errors import UnknownNameError
from tamis.eval import (
    Cell,
    Comparison,
    Evaluation,
    Table,
    compare,
    comparison_table,
    evaluation_table,
    parse_measures,
    per_query_table,
    summary_table,
)


@pytest.fixture
def compared() -> Comparison:
    values = np.zeros((3, 2, 10))
    values[0, 0] = np.linspace(0.2, 0.6, 10)
    values[1, 0] = values[0, 0] + 0.1 + np.linspace(-0.01, 0.01, 10)
    values[2, 0] = values[0, 0] - 0.1 + np.linspace(-0.01, 0.01, 10)
    values[:, 1] = 100
    systems = ("base_line", "better", "wo|rse")
    return compare(
        Evaluation(systems, parse_measures(["nDCG@10", "NumRet"]), tuple(map(str, range(10))), values), "base_line"
    )


def test_text_is_aligned_and_explains_its_marks(compared: Comparison) -> None:
    assert summary_table(compared).render("text") == (
        "system     nDCG@10   NumRet\n"
        "---------  --------  ------\n"
        "base_line   0.4000     1000\n"
        "better      0.5000↑    1000\n"
        "wo|rse      0.3000↓    1000\n"
        "\n"
        "Means (sums for counts) over 10 queries.\n"
        "↑ ↓: above / below base_line, two-sided paired t-test, p < 0.05 (Holm correction, 2 comparisons per measure).\n"
    )


def test_markdown_escapes_and_aligns(compared: Comparison) -> None:
    lines = summary_table(compared).render("markdown").splitlines()
    assert lines[:5] == [
        "| system | nDCG@10 | NumRet |",
        "| :--- | ---: | ---: |",
        "| base\\_line | 0.4000 | 1000 |",
        "| better | 0.5000↑ | 1000 |",
        "| wo\\|rse | 0.3000↓ | 1000 |",
    ]


def test_latex_is_booktabs_and_escaped(compared: Comparison) -> None:
    latex = summary_table(compared).render("latex")
    assert latex.startswith("\\begin{tabular}{lrr}\n\\toprule\nsystem & nDCG@10 & NumRet \\\\\n\\midrule\n")
    assert "base\\_line & 0.4000 & 1000 \\\\\n" in latex
    assert "better & 0.5000$^{\\uparrow}$ & 1000 \\\\\n" in latex
    assert "p $<$ 0.05 (Holm correction" in latex
    hostile = Table(("a",), ((Cell("50% & $x_1^2 #{~}\\"),),)).render("latex")
    assert "50\\% \\& \\$x\\_1\\textasciicircum{}2 \\#\\{\\textasciitilde{}\\}\\textbackslash{} \\\\\n" in hostile


def test_csv_reads_back_unrounded(compared: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(comparison_table(compared).render("csv"))))
    assert len(rows) == 4
    for row, difference in zip(rows, compared.differences, strict=True):
        assert (row["measure"], row["system"]) == (difference.measure, difference.system)
        assert float(row["Δ"]) == difference.difference
        assert float(row["p"]) == difference.p
        assert (int(row["wins"]), int(row["losses"]), int(row["n"])) == (difference.wins, difference.losses, 10)


def test_comparison_table_shows_small_p_and_names_the_interval(compared: Comparison) -> None:
    text = comparison_table(compared).render("text")
    assert "95% CI low" in text
    assert "<0.0001" in text
    assert "Baseline: base_line" in text
    assert "+25.0" in text


def test_per_query_and_single_query_tables() -> None:
    one = Evaluation(("a", "b"), parse_measures("RR"), ("q1",), np.array([0.5, 1.0]).reshape(2, 1, 1))
    assert per_query_table(one).render("csv") == "system,query,RR\na,q1,0.5\nb,q1,1.0\n"
    assert "over 1 query." in evaluation_table(one).render("text")
    table = comparison_table(compare(one, "a"))
    assert any("at least two queries" in note for note in table.notes)
    assert table.rows[0][8].text == "-"
    assert "RR,b,1.0,0.5,0.5,100.0,,,,,,1,0,0,1\n" in table.render("csv")


def test_wide_characters_keep_columns_aligned() -> None:
    lines = Table(("id", "n"), ((Cell("検索"), Cell(1)), (Cell("abcd"), Cell(22)))).render("text").splitlines()
    assert lines[2:] == ["検索   1", "abcd  22"]


def test_values_near_zero_carry_no_sign() -> None:
    assert (Cell(-1e-9).text, Cell(0.00005).text, Cell(None).text, Cell(-0.5).text) == (
        "0.0000",
        "0.0001",
        "-",
        "-0.5000",
    )


def test_unknown_form_is_refused(compared: Comparison) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'latex'"):
        summary_table(compared).render("latx")
