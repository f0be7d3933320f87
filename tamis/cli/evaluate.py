"""`tamis evaluate`: runs and relevance judgements become a table of numbers."""

from __future__ import annotations

from typing import Annotated

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


def evaluate(
    session: Session,
    qrels: QrelsArgument,
    runs: RunsArgument,
    measures: MeasuresOption = None,
    per_query: Annotated[bool, typer.Option("--per-query", "-q", help="A value for every query too.")] = False,
    profile: ProfileOption = None,
    ignore_self: IgnoreSelfOption = False,
    ties: TiesOption = "trec_eval",
    judged_only: JudgedOnlyOption = False,
    judged: JudgedOption = False,
    form: FormatOption = "table",
) -> None:
    """Evaluate runs against relevance judgements.

    Means are over all queries of the judgements; a query that a run lacks counts 0. Tables round to four digits, CSV and
    JSON do not. A profile brings the collection's measures, unless -m names others.

    Example: tamis evaluate qrels.txt bm25.run ql.run -m nDCG@10 -m R@100
    """
    from tamis.cli.tables import check_format, evaluate_files, write_outcome
    from tamis.eval import evaluation_table, per_query_table

    check_format(form)
    evaluation, _ = evaluate_files(
        session,
        qrels,
        runs,
        measures,
        ties=ties,
        judged_only=judged_only,
        profile=profile,
        ignore_self=ignore_self,
        judged=judged,
    )
    means = [evaluation_table(evaluation)]
    queries = [per_query_table(evaluation)] if per_query else []
    # CSV is for programs: one table in it, of one shape
    tables = {"csv": queries or means, "*": [*queries, *means]}
    write_outcome(session, form, evaluation.to_dict(per_query=per_query), tables)
