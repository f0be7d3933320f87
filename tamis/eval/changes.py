"""The queries behind a mean: which gained and which lost most against the baseline.

A mean difference says how much, the list says where: a failure that strikes one kind of query shows here first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tamis.errors import UsageError
from tamis.eval.compare import Comparison
from tamis.eval.significance import SAME


@dataclass(frozen=True, slots=True)
class QueryChange:
    """One query that a system answers better or worse than the baseline does.

    Attributes:
        measure: canonical name of the measure.
        system: name of the system.
        query_id: the query.
        baseline: the baseline's value.
        value: the system's.
        difference: value - baseline, not 0.
        text: the query's text, None where it is not known.
    """

    measure: str
    system: str
    query_id: str
    baseline: float
    value: float
    difference: float
    text: str | None = None


def query_changes(
    comparison: Comparison, count: int, texts: Mapping[str, str] | None = None
) -> tuple[QueryChange, ...]:
    """Return the queries that changed most.

    Args:
        comparison: what to look into.
        count: how many gains and how many losses at most, of each measure and system.
        texts: query texts by id.

    Returns:
        For every measure and system, in the comparison's order: the gains, the largest first, then the losses, the largest first.
        Equal changes stand in the order of the qrels; queries whose values are equal are left out.

    Raises:
        UsageError: the count is below 1.
    """
    if count < 1:
        raise UsageError(f"{count} queries: ask for at least 1 query that gained and lost most")
    evaluation, texts = comparison.evaluation, texts or {}
    changes = []
    for compared in comparison.differences:
        before = evaluation.per_query(comparison.baseline, compared.measure)
        after = evaluation.per_query(compared.system, compared.measure)
        difference = after - before
        for direction in (1, -1):
            order = np.argsort(-direction * difference, kind="stable")[:count]
            changes += [
                QueryChange(
                    compared.measure,
                    compared.system,
                    evaluation.query_ids[q],
                    float(before[q]),
                    float(after[q]),
                    float(difference[q]),
                    texts.get(evaluation.query_ids[q]),
                )
                for q in order.tolist()
                if direction * difference[q] > SAME
            ]
    return tuple(changes)
