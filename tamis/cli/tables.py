"""What `evaluate` and `compare` share: reading what is evaluated, and the forms of their output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.cli.drawing import write_tables
from tamis.cli.options import DEFAULT_MEASURES
from tamis.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tamis.cli.session import Session
    from tamis.data.qrels import Qrels
    from tamis.eval import Evaluation, Profile
    from tamis.eval.tables import Table
    from tamis.ranking import Ranking

FORMATS = ("table", "json", "csv", "markdown", "latex")


def check_format(form: str) -> None:
    """Check the name of an output form.

    Raises:
        UnknownNameError: there is no such form.
    """
    if form not in FORMATS:
        raise UnknownNameError("output format", form, FORMATS)


@dataclass(frozen=True, slots=True)
class Judged:
    """Judgements and runs as read, and how to evaluate them.

    Attributes:
        qrels: the judgements.
        rankings: the runs by name.
        ties: the tie rule.
        judged_only: whether unjudged documents are left out.
        profile: the profile to follow, None for none.
        ignore_self: whether results with the query's own id are dropped, whatever the profile says.
        shares: names of the shares of judged documents that stand beside the measures asked for.
    """

    qrels: Qrels
    rankings: Mapping[str, Ranking]
    ties: Any
    judged_only: bool
    profile: Profile | None
    ignore_self: bool
    shares: frozenset[str] = frozenset()

    def evaluate(self, measures: Sequence[Any]) -> Evaluation:
        """Evaluate all runs."""
        from tamis.eval import evaluate

        return evaluate(
            self.qrels,
            self.rankings,
            measures,
            ties=self.ties,
            judged_only=self.judged_only,
            profile=self.profile,
            ignore_self=self.ignore_self,
        )


def evaluate_files(
    session: Session,
    qrels: str,
    runs: Sequence[Path],
    measures: Sequence[str] | None,
    *,
    ties: str,
    judged_only: bool,
    profile: str | None,
    ignore_self: bool,
    judged: bool,
) -> tuple[Evaluation, Judged]:
    """Read judgements and runs, evaluate, and pass on the warnings.

    Args:
        session: takes what was resolved, and the warnings.
        qrels: the judgements' source.
        runs: the run files.
        measures: measure names; the profile's, or else the usual ones, if there are none.
        ties: the tie rule.
        judged_only: leave unjudged documents out.
        profile: name of an evaluation profile, ``auto`` or ``none``.
        ignore_self: drop results with the query's own id.
        judged: add the share of judged documents to every measure.

    Returns:
        The evaluation, and what it was made of.

    Raises:
        TamisError: as the readers and `tamis.eval.evaluate`; options and measures are checked before anything is read.
    """
    from tamis.data.qrels import read_qrels
    from tamis.data.runs import read_runs
    from tamis.eval import parse_measures, with_judged
    from tamis.eval.judgements import check_ties
    from tamis.eval.profiles import choose_profile, detect_profile

    chosen = choose_profile(profile, qrels)
    parsed = parse_measures(measures or (chosen.measures if chosen else DEFAULT_MEASURES))
    shares: frozenset[str] = frozenset()
    if judged:
        asked, parsed = parsed, with_judged(parsed)
        shares = frozenset(measure.name for measure in parsed if measure not in asked)
    check_ties(ties)
    judgements = read_qrels(qrels)
    rankings = read_runs(runs, exact=False, listener=session.listener)  # as any evaluator reads the files
    given = Judged(judgements, rankings, ties, judged_only, chosen, ignore_self, shares)
    evaluation = given.evaluate(parsed)
    session.resolved.update(
        measures=[measure.name for measure in evaluation.measures],
        ties=ties,
        profile=chosen.name if chosen else None,
        ignore_self=evaluation.conventions.ignore_self,
    )
    for warning in evaluation.warnings:
        session.warn(warning.code, warning.message)
    known = None if profile else detect_profile(qrels)
    if known and known.changes_figures:
        session.warn(
            "profile_not_followed",
            f"{qrels} seems to be {known.name}, which is scored by rules of its own, and they were not followed: pass "
            "--profile auto, or --profile none to hear no more of it",
        )
    return evaluation, given


def write_outcome(session: Session, form: str, values: dict[str, Any], tables: dict[str, list[Table]]) -> None:
    """Write JSON values or, in any other form, the tables meant for it (``*`` where it is not named)."""
    session.metrics.update({name: value for name, value in values.items() if name != "warnings"})
    if form == "json":
        session.write(json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    else:
        write_tables(session, tables.get(form, tables["*"]), form)
