"""The tables of an evaluation and of a comparison."""

from __future__ import annotations

from tamis.eval.compare import Comparison, Difference
from tamis.eval.evaluate import Evaluation
from tamis.eval.measures import Measure
from tamis.eval.tables import Cell, Table, format_p

_TESTS = {"t": "two-sided paired t-test", "randomisation": "two-sided paired randomisation test"}
_CORRECTIONS = {"holm": "Holm correction", "bonferroni": "Bonferroni correction", "none": "no correction"}


def evaluation_table(evaluation: Evaluation) -> Table:
    """Return one row a system, one column a measure."""
    rows = tuple(
        (Cell(system), *(_cell(measure, evaluation.aggregate(system, measure)) for measure in evaluation.measures))
        for system in evaluation.systems
    )
    return Table(("system", *map(str, evaluation.measures)), rows, (_queries_note(evaluation),))


def per_query_table(evaluation: Evaluation) -> Table:
    """Return one row a system and query, one column a measure."""
    rows = tuple(
        (Cell(system), Cell(query_id), *map(_cell, evaluation.measures, evaluation.values[s, :, q].tolist()))
        for s, system in enumerate(evaluation.systems)
        for q, query_id in enumerate(evaluation.query_ids)
    )
    return Table(("system", "query", *map(str, evaluation.measures)), rows)


def summary_table(comparison: Comparison) -> Table:
    """Return the evaluation's table, the baseline first, with a mark at every significant difference."""
    evaluation = comparison.evaluation
    marks = {(d.system, d.measure): _mark(d) for d in comparison.differences}
    systems = [comparison.baseline, *(s for s in evaluation.systems if s != comparison.baseline)]
    rows = tuple(
        (
            Cell(system),
            *(
                _cell(measure, evaluation.aggregate(system, measure), marks.get((system, measure.name), ""))
                for measure in evaluation.measures
            ),
        )
        for system in systems
    )
    return Table(
        ("system", *map(str, evaluation.measures)), rows, (_queries_note(evaluation), *significance_notes(comparison))
    )


def comparison_table(comparison: Comparison) -> Table:
    """Return one row a measure and system: means, difference, interval, p values, effect, wins, ties and losses."""
    level = f"{100 * (1 - comparison.alpha):g}% CI"
    header = (
        "measure", "system", "mean", "baseline", "Δ", "Δ%", f"{level} low", f"{level} high",
        "p", "corrected p", "d_z", "wins", "ties", "losses", "n",
    )  # fmt: skip
    rows = tuple(
        (
            Cell(d.measure),
            Cell(d.system),
            Cell(d.mean, _mark(d)),
            Cell(d.baseline_mean),
            Cell(d.difference, text=f"{d.difference:+.4f}"),
            Cell(None) if d.relative is None else Cell(100 * d.relative, text=f"{100 * d.relative:+.1f}"),
            Cell(d.low),
            Cell(d.high),
            Cell(d.p, text=format_p(d.p)),
            Cell(d.corrected_p, text=format_p(d.corrected_p)),
            Cell(d.effect),
            Cell(d.wins),
            Cell(d.ties),
            Cell(d.losses),
            Cell(comparison.queries),
        )
        for d in comparison.differences
    )
    interval = (
        f"Baseline: {comparison.baseline}; Δ: mean per-query difference to it; CI: percentile bootstrap over queries, "
        f"{comparison.samples} samples, seed {comparison.seed}; d_z: mean / standard deviation of the differences."
    )
    return Table(header, rows, (*significance_notes(comparison), interval))


def significance_notes(comparison: Comparison) -> tuple[str, ...]:
    """Return the sentences that explain the marks: test, level, correction and number of comparisons."""
    if comparison.queries < 2:
        return ("No significance test: it needs at least two queries, and there is one.",)
    count = f"{comparison.family} comparison{'s' if comparison.family > 1 else ''} per measure"
    marks = (
        f"↑ ↓: above / below {comparison.baseline}, {_TESTS[comparison.test]}, p < {comparison.alpha:g} "
        f"({_CORRECTIONS[comparison.correction]}, {count})."
    )
    return (marks,)


def _cell(measure: Measure, value: float, mark: str = "") -> Cell:
    return Cell(round(value) if measure.is_count else value, mark)


def _mark(difference: Difference) -> str:
    if not difference.significant:
        return ""
    return "↑" if difference.difference > 0 else "↓"


def _queries_note(evaluation: Evaluation) -> str:
    n = len(evaluation.query_ids)
    kind = "Means" if not any(m.is_count for m in evaluation.measures) else "Means (sums for counts)"
    return f"{kind} over {n} quer{'y' if n == 1 else 'ies'}."
