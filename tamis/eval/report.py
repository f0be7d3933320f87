"""The tables of an evaluation and of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.eval.changes import QueryChange
from tamis.eval.compare import Comparison, Difference
from tamis.eval.evaluate import Evaluation
from tamis.eval.measures import Measure
from tamis.eval.slices import SliceDifference, Slicing, Untested
from tamis.eval.tables import Cell, Table, format_p

_TESTS = {"t": "two-sided paired t-test", "randomisation": "two-sided paired randomisation test"}
_CORRECTIONS = {"holm": "Holm correction", "bonferroni": "Bonferroni correction", "none": "no correction"}
_TEXT_WIDTH = 60
_FOOTNOTES: dict[Untested, tuple[str, str]] = {
    "one query": ("¹", "one query"),
    "no difference": ("²", "no query tells the two apart"),
    "equal differences": ("³", "every query differs by the same"),
}


def evaluation_table(evaluation: Evaluation) -> Table:
    """Return one row a system, one column a measure."""
    rows = tuple(
        (Cell(system), *(_cell(measure, evaluation.aggregate(system, measure)) for measure in evaluation.measures))
        for system in evaluation.systems
    )
    return Table(
        ("system", *map(str, evaluation.measures)), rows, (_queries_note(evaluation), *convention_notes(evaluation))
    )


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
    notes = (_queries_note(evaluation), *convention_notes(evaluation), *significance_notes(comparison))
    return Table(("system", *map(str, evaluation.measures)), rows, notes)


def comparison_table(comparison: Comparison) -> Table:
    """Return one row a measure and system: means, difference, interval, p values, effect, wins, ties and losses.

    Where equivalence was tested, its bound and p values stand behind those of the test of difference.
    """
    level = f"{100 * (1 - comparison.alpha):g}% CI"
    equivalent = ("±bound", "TOST p", "corrected TOST p") if comparison.bound else ()
    header = (
        "measure", "system", "mean", "baseline", "Δ", "Δ%", f"{level} low", f"{level} high",
        "p", "corrected p", *equivalent, "d_z", "wins", "ties", "losses", "n",
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
            *(_equivalence_cells(d) if comparison.bound else ()),
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
        tests = "No significance test and no equivalence test" if comparison.bound else "No significance test"
        return (f"{tests}: it needs at least two queries, and there is one.",)
    count = f"{comparison.family} comparison{'s' if comparison.family > 1 else ''} per measure"
    marks = (
        f"↑ ↓: above / below {comparison.baseline}, {_TESTS[comparison.test]}, p < {comparison.alpha:g} "
        f"({_CORRECTIONS[comparison.correction]}, {count})."
    )
    return (marks, *_equivalence_notes(comparison, count))


def convention_notes(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the sentences that say which profile was followed and what was done to the runs; none where nothing was."""
    done, notes = evaluation.conventions, []
    if profile := done.profile:
        binary = f"binary measures that state no grade take {profile.binary_threshold} or more for relevant"
        notes.append(
            f"Profile {profile.name} ({profile.source}): the top {profile.depth} count, {binary}, self-matches "
            f"{'do not count' if profile.ignore_self else 'count'}."
        )
        if profile.note:
            notes.append(profile.note)
    if done.ignore_self:
        notes.append(f"Results with the query's own id were dropped: {_counts(evaluation.systems, done.own)}.")
    if any(done.beyond):
        notes.append(f"Results below rank {done.depth} were left out: {_counts(evaluation.systems, done.beyond)}.")
    return tuple(notes)


def changes_table(comparison: Comparison, changes: Sequence[QueryChange]) -> Table:
    """Return one row a changed query: the values of both, their difference, and the query's text where it is known."""
    texts = any(change.text is not None for change in changes)
    rows = tuple(
        (
            Cell(change.measure),
            Cell(change.system),
            Cell(change.query_id),
            Cell(change.baseline),
            Cell(change.value),
            Cell(change.difference, text=f"{change.difference:+.4f}"),
            *((Cell(change.text, text=_shortened(change.text)),) if texts else ()),
        )
        for change in changes
    )
    notes = [f"The queries that gained and lost most against {comparison.baseline}; Δ: system minus baseline."]
    changed = {(change.system, change.measure) for change in changes}
    unchanged = [f"{d.system} ({d.measure})" for d in comparison.differences if (d.system, d.measure) not in changed]
    if unchanged:
        notes.append(f"No query changed: {', '.join(unchanged)}.")
    header = ("measure", "system", "query", "baseline", "value", "Δ", *(("text",) if texts else ()))
    return Table(header, rows, tuple(notes))


def slices_table(comparison: Comparison, slices: Sequence[tuple[Slicing, Sequence[SliceDifference]]]) -> Table:
    """Return one row a slicing, measure, system and slice: means, difference, interval and p values."""
    level = f"{100 * (1 - comparison.alpha):g}% CI"
    header = (
        "by", "slice", "measure", "system", "n", "mean", "baseline", "Δ", f"{level} low", f"{level} high",
        "p", "corrected p", "wins", "ties", "losses",
    )  # fmt: skip
    found = [difference for _, differences in slices for difference in differences]
    rows = tuple(
        (
            Cell(d.by),
            Cell(d.slice),
            Cell(d.measure),
            Cell(d.system),
            Cell(d.queries),
            Cell(d.mean, _mark(d)),
            Cell(d.baseline_mean),
            Cell(d.difference, text=f"{d.difference:+.4f}"),
            Cell(d.low),
            Cell(d.high),
            Cell(d.p, text=format_p(d.p), mark=_FOOTNOTES[d.untested][0] if d.untested else ""),
            Cell(d.corrected_p, text=format_p(d.corrected_p)),
            Cell(d.wins),
            Cell(d.ties),
            Cell(d.losses),
        )
        for d in found
    )
    notes = [f"Slices by {slicing.by}: {slicing.rule}." for slicing, _ in slices]
    notes.append(
        f"Baseline: {comparison.baseline}; {_TESTS[comparison.test]} and bootstrap interval within each slice; "
        f"↑ ↓: p < {comparison.alpha:g} ({_CORRECTIONS[comparison.correction]} over the tested slices of one slicing, "
        "system and measure)."
    )
    reasons = {d.untested for d in found}
    said = [f"{mark} {reason}" for name, (mark, reason) in _FOOTNOTES.items() if name in reasons]
    if said:
        notes.append(f"No interval and no test (-): {', '.join(said)}.")
    return Table(header, rows, tuple(notes))


def _equivalence_notes(comparison: Comparison, count: str) -> tuple[str, ...]:
    if comparison.bound is None:
        return ()
    bound = f"{comparison.bound} of its mean" if comparison.bound.relative else str(comparison.bound)
    shown = (
        f"≈: shown equivalent to {comparison.baseline}, the difference within ±{bound}; two one-sided paired t-tests (TOST), "
        f"p < {comparison.alpha:g} ({_CORRECTIONS[comparison.correction]}, {count}). Without ≈, equivalence is not shown."
    )
    notes = [shown]
    untested = dict.fromkeys(d.measure for d in comparison.differences if d.equivalent is None)
    if untested:
        notes.append(
            f"No equivalence test on {', '.join(untested)}: {comparison.baseline} scores 0 on average, and "
            f"{comparison.bound} of that is no bound."
        )
    identical = [f"{d.system} ({d.measure})" for d in comparison.differences if d.ties == comparison.queries]
    if identical:
        notes.append(f"No query tells them from the baseline: {', '.join(identical)}.")
    return tuple(notes)


def _equivalence_cells(difference: Difference) -> tuple[Cell, ...]:
    p, corrected = difference.equivalence_p, difference.corrected_equivalence_p
    return (
        Cell(difference.bound),
        Cell(p, text=format_p(p)),
        Cell(corrected, text=format_p(corrected)),
    )


def _shortened(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= _TEXT_WIDTH else line[: _TEXT_WIDTH - 1] + "…"


def _counts(systems: Sequence[str], counts: Sequence[int]) -> str:
    return ", ".join(f"{system} {count}" for system, count in zip(systems, counts, strict=True))


def _cell(measure: Measure, value: float, mark: str = "") -> Cell:
    return Cell(round(value) if measure.is_count else value, mark)


def _mark(difference: Difference | SliceDifference) -> str:
    direction = ("↑" if difference.difference > 0 else "↓") if difference.significant else ""
    # A difference can be both certain and too small to matter.
    return direction + ("≈" if isinstance(difference, Difference) and difference.equivalent else "")


def _queries_note(evaluation: Evaluation) -> str:
    n = len(evaluation.query_ids)
    kind = "Means" if not any(m.is_count for m in evaluation.measures) else "Means (sums for counts)"
    return f"{kind} over {n} quer{'y' if n == 1 else 'ies'}."
