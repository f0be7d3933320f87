"""What `evaluate` and `compare` share: the forms of their output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.cli.drawing import write_tables
from tamis.errors import UnknownNameError

if TYPE_CHECKING:
    from tamis.cli.session import Session
    from tamis.eval import Evaluation
    from tamis.eval.tables import Table

FORMATS = ("table", "json", "csv", "markdown", "latex")


def check_format(form: str) -> None:
    """Check the name of an output form.

    Raises:
        UnknownNameError: there is no such form.
    """
    if form not in FORMATS:
        raise UnknownNameError("output format", form, FORMATS)


def evaluate_files(
    session: Session, qrels: str, runs: Sequence[Path], measures: Sequence[str], *, ties: str, judged_only: bool
) -> Evaluation:
    """Read judgements and runs, evaluate, and pass on the warnings.

    Raises:
        TamisError: as the readers and `tamis.eval.evaluate`; measures are checked before anything is read.
    """
    from tamis.data.qrels import read_qrels
    from tamis.data.runs import read_runs
    from tamis.eval import evaluate, parse_measures
    from tamis.eval.judgements import check_ties

    parsed = parse_measures(measures)
    check_ties(ties)
    rule: Any = ties
    judgements = read_qrels(qrels)
    rankings = read_runs(runs, exact=False, listener=session.listener)  # as any evaluator reads the files
    evaluation = evaluate(judgements, rankings, parsed, ties=rule, judged_only=judged_only)
    session.resolved.update(measures=[measure.name for measure in evaluation.measures], ties=ties)
    for warning in evaluation.warnings:
        session.warn(warning.code, warning.message)
    return evaluation


def write_outcome(session: Session, form: str, values: dict[str, Any], tables: dict[str, list[Table]]) -> None:
    """Write JSON values or, in any other form, the tables meant for it (``*`` where it is not named)."""
    session.metrics.update({name: value for name, value in values.items() if name != "warnings"})
    if form == "json":
        session.write(json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    else:
        write_tables(session, tables.get(form, tables["*"]), form)
