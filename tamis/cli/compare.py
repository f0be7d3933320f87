"""`tamis compare`: which runs differ from a baseline, by how much, and is it more than chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import (
    FormatOption,
    IgnoreSelfOption,
    JudgedOnlyOption,
    JudgedOption,
    MeasuresOption,
    ProfileOption,
    QrelsArgument,
    RunsArgument,
    TiesOption,
)
from tamis.cli.session import Session
from tamis.errors import DataError, MissingResourceError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from tamis.cli.tables import Judged
    from tamis.eval import Comparison, SliceDifference, Slicing


def compare(
    session: Session,
    qrels: QrelsArgument,
    runs: RunsArgument,
    baseline: Annotated[
        Path,
        typer.Option(
            "--baseline", metavar="RUN", help="The run to compare with: its path or name.", show_default=False
        ),
    ],
    measures: MeasuresOption = None,
    test: Annotated[
        str, typer.Option("--test", metavar="t|randomisation", help="Significance test, paired and two-sided.")
    ] = "t",
    correction: Annotated[
        str,
        typer.Option("--correction", metavar="holm|bonferroni|none", help="For several runs, measure by measure."),
    ] = "holm",
    alpha: Annotated[
        float, typer.Option("--alpha", metavar="A", help="Level of significance; intervals cover 1 - A.")
    ] = 0.05,
    equivalent: Annotated[
        str | None,
        typer.Option(
            "--equivalent",
            metavar="5%|0.01",
            help="Test too whether the difference is smaller than this: of the baseline's mean, or in the measure's units.",
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option("--queries", metavar="N", help="List the N queries that gained and the N that lost most."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="SLICES",
            help="Compare within slices too: query-length, first-word (both need --topics), judged-share, relevant, or a "
            "file of query id TAB slice. Repeatable.",
        ),
    ] = None,
    topics: Annotated[
        str | None, typer.Option("--topics", metavar="TOPICS", help="The queries' texts: a path or ir_datasets id.")
    ] = None,
    profile: ProfileOption = None,
    ignore_self: IgnoreSelfOption = False,
    ties: TiesOption = "trec_eval",
    judged_only: JudgedOnlyOption = False,
    judged: JudgedOption = False,
    form: FormatOption = "table",
) -> None:
    """Compare runs with a baseline: differences, intervals, significance.

    The intervals are bootstrap intervals of the mean difference over the queries. CSV holds one table: the queries or the slices
    where they are asked for.

    Example: tamis compare qrels.txt bm25.run rm3.run --baseline bm25.run -m nDCG@10 --equivalent 5%
    """
    from tamis.cli.tables import check_format, evaluate_files, write_outcome
    from tamis.eval import Bound, changes_table, comparison_table, query_changes, slices_table, summary_table
    from tamis.eval import compare as compare_systems

    check_format(form)
    slicings = list(dict.fromkeys(by or ()))
    _check_options(slicings, queries, topics, form)
    bound = Bound.parse(equivalent) if equivalent else None
    texts = _texts(topics) if topics else None
    paths, base = _with_baseline(runs, baseline)
    evaluation, given = evaluate_files(
        session,
        qrels,
        paths,
        measures,
        ties=ties,
        judged_only=judged_only,
        profile=profile,
        ignore_self=ignore_self,
        judged=judged,
    )
    if texts is not None and topics:
        _check_topics(session, topics, texts, evaluation.query_ids)
    system = evaluation.systems[base]
    chosen: dict[str, Any] = {"test": test, "correction": correction}
    comparison = compare_systems(evaluation, system, alpha=alpha, bound=bound, **chosen)
    session.resolved.update(baseline=system, test=test, correction=correction, alpha=alpha)
    details = comparison_table(comparison)
    values = {"evaluation": evaluation.to_dict(), **comparison.to_dict()}
    tables, listed = [summary_table(comparison), details], [details]
    # the shares of judged documents are there to doubt the figures by, not to be taken apart themselves
    comparison = comparison.select(m for m in evaluation.measures if m.name not in given.shares)
    if queries is not None:
        changes = query_changes(comparison, queries, texts)
        values["changes"] = [asdict(change) for change in changes]
        listed = [changes_table(comparison, changes)]
        tables += listed
    if slicings:
        slices = _slices(comparison, slicings, texts, given)
        values["slices"] = [
            {
                "by": slicing.by,
                "rule": slicing.rule,
                "differences": [difference.to_dict() for difference in differences],
            }
            for slicing, differences in slices
        ]
        listed = [slices_table(comparison, slices)]
        tables += listed
    write_outcome(session, form, values, {"csv": listed, "*": tables})


def _check_options(slicings: Sequence[str], queries: int | None, topics: str | None, form: str) -> None:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: options that do not go together, or slices that are neither a name nor a file.
    """
    from tamis.eval.slices import SLICINGS, needs_texts

    if queries is not None and queries < 1:
        raise UsageError(f"--queries {queries}: ask for at least 1")
    if form == "csv" and queries is not None and slicings:
        raise UsageError("CSV holds one table: ask for --queries or for --by, or for another --format")
    for slicing in slicings:
        if slicing not in SLICINGS and not Path(slicing).is_file():
            raise UnknownNameError("slices (neither a name nor a file)", slicing, SLICINGS)
        if slicing in SLICINGS and needs_texts(slicing) and topics is None:
            raise UsageError(f"--by {slicing} looks at the query texts: give them with --topics")


def _texts(topics: str) -> dict[str, str]:
    from tamis.cli.drawing import clean
    from tamis.data.topics import read_topics

    read = read_topics(topics)
    return dict(zip(read.ids, map(clean, read.texts), strict=True))


def _check_topics(session: Session, topics: str, texts: Mapping[str, str], query_ids: Sequence[str]) -> None:
    """Say where topics and judgements do not cover each other.

    Raises:
        DataError: they share no query.
    """
    judged = set(query_ids)
    without = sum(query_id not in texts for query_id in query_ids)
    if without == len(query_ids):
        raise DataError(
            f"none of the {len(texts)} topics in {topics} has judgements: the topics have for example "
            f"{next(iter(texts))!r}, the judgements {query_ids[0]!r}; do they belong together?"
        )
    if without:
        session.warn("queries_without_text", f"{without} of the {len(query_ids)} judged queries are not in {topics}")
    unjudged = sum(query_id not in judged for query_id in texts)
    if unjudged:
        session.warn(
            "topics_without_judgements",
            f"{unjudged} of the {len(texts)} topics in {topics} have no judgements and play no role",
        )


def _slices(
    comparison: Comparison, slicings: Sequence[str], texts: Mapping[str, str] | None, given: Judged
) -> list[tuple[Slicing, tuple[SliceDifference, ...]]]:
    """Compare within the slices of every slicing, in the order given."""
    from tamis.data.topics import read_topics
    from tamis.eval import compare_slices, slice_by_labels, slice_queries
    from tamis.eval.slices import SLICINGS, needed_measures

    needed = needed_measures(slicing for slicing in slicings if slicing in SLICINGS)
    facts = given.evaluate(needed) if needed else None
    query_ids = comparison.evaluation.query_ids
    slices = []
    for by in slicings:
        if by in SLICINGS:
            slicing = slice_queries(by, query_ids, texts=texts, facts=facts)
        else:
            labels = read_topics(by)  # id TAB text, or any other form of topics
            slicing = slice_by_labels(Path(by).stem, query_ids, dict(zip(labels.ids, labels.texts, strict=True)))
        slices.append((slicing, compare_slices(comparison, slicing)))
    return slices


def _with_baseline(runs: list[Path], baseline: Path) -> tuple[list[Path], int]:
    """Return all runs and the baseline's place among them; a baseline that is not among them comes first.

    Raises:
        MissingResourceError: the baseline is neither a run's path or name, nor a file.
    """
    from tamis.data.runs import run_name

    for place, run in enumerate(runs):
        if run == baseline or (baseline.exists() and run.exists() and run.samefile(baseline)):
            return runs, place
    if baseline.is_file():
        return [baseline, *runs], 0
    named = [place for place, run in enumerate(runs) if run_name(run) == str(baseline)]
    if len(named) != 1:
        raise MissingResourceError(
            f"baseline {str(baseline)!r} is neither a file nor the name of just one of the runs: "
            f"{', '.join(map(run_name, runs))}"
        )
    return runs, named[0]
