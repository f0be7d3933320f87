"""`tamis compare`: which runs differ from a baseline, by how much, and is it more than chance?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tamis.cli.options import DEFAULT_MEASURES, FormatOption, MeasuresOption, QrelsArgument, RunsArgument, TiesOption
from tamis.cli.session import Session
from tamis.errors import MissingResourceError


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
    ties: TiesOption = "trec_eval",
    judged_only: Annotated[
        bool, typer.Option("--judged-only", help="Leave unjudged documents out, where a measure can.")
    ] = False,
    form: FormatOption = "table",
) -> None:
    """Compare runs with a baseline: differences, intervals, significance.

    The intervals are bootstrap intervals of the mean difference over the queries.

    Example: tamis compare qrels.txt bm25.run rm3.run --baseline bm25.run -m nDCG@10
    """
    from tamis.cli.tables import check_format, evaluate_files, write_outcome
    from tamis.eval import compare as compare_systems
    from tamis.eval import comparison_table, summary_table

    check_format(form)
    paths, base = _with_baseline(runs, baseline)
    evaluation = evaluate_files(session, qrels, paths, measures or DEFAULT_MEASURES, ties=ties, judged_only=judged_only)
    system = evaluation.systems[base]
    chosen: dict[str, Any] = {"test": test, "correction": correction}
    comparison = compare_systems(evaluation, system, alpha=alpha, **chosen)
    session.resolved.update(baseline=system, test=test, correction=correction, alpha=alpha)
    details = comparison_table(comparison)
    values = {"evaluation": evaluation.to_dict(), **comparison.to_dict()}
    write_outcome(session, form, values, {"csv": [details], "*": [summary_table(comparison), details]})


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
