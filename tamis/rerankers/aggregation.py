"""From comparisons of every two candidates to a score of each (Pradeep et al., "The Expando-Mono-Duo Design Pattern", 2021).

p(i, j) is the probability that i is the more relevant where i stands first. Of the sums, the symmetric ones count both orders in
which two candidates can stand, so that a model that favours a place does not decide. Two are no literature's but what code in use
does, for comparison with its figures.

    sym-sum     the sum over j of p(i, j) + 1 - p(j, i); the default
    sum         of p(i, j)
    sym-log     of log p(i, j) + log(1 - p(j, i))
    log         of log p(i, j)
    binary      how many j have p(i, j) above 1/2
    max, min    the greatest, and the least, p(i, j)
    rank-llm    sym-sum of those pairs only in which the better candidate so far stands first, as RankLLM does
    pyterrier   the sum over j of log p(i, j) + 1 - log p(j, i), as pyterrier_t5 does
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Terms = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Of log-odds [candidates, candidates]: what each j (column) adds to each i (row)."""


def log_sigmoid(x: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return log(1 / (1 + exp(-x))), of the log-odds of a probability its logarithm, without overflow: float64."""
    with np.errstate(invalid="ignore"):  # what is not a number stays so
        found: NDArray[np.float64] = -np.logaddexp(0.0, -np.asarray(x, np.float64))
    return found


def _p(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(log_sigmoid(x))


_TERMS: dict[str, Terms] = {
    "sym-sum": lambda x: _p(x) + _p(-x.T),
    "sum": _p,
    "sym-log": lambda x: log_sigmoid(x) + log_sigmoid(-x.T),
    "log": log_sigmoid,
    "binary": lambda x: (x > 0).astype(np.float64),
    "max": _p,
    "min": _p,
    "rank-llm": lambda x: np.where(np.tri(len(x), dtype=bool), _p(-x.T), _p(x)),
    "pyterrier": lambda x: log_sigmoid(x) + 1 - log_sigmoid(x.T),
}

ONE_ORDER = "rank-llm"
"""The aggregation that asks of two candidates in one order only."""


def terms(log_odds: NDArray[np.float64], aggregation: str) -> NDArray[np.float64]:
    """Return what each comparison adds.

    Args:
        log_odds: float64 [candidates, candidates], those of p(i, j) in row i; the diagonal is not looked at.
        aggregation: its name.

    Returns:
        float64 of the same shape; the diagonal means nothing.
    """
    return _TERMS[aggregation](log_odds)


def aggregate(log_odds: NDArray[np.float64], aggregation: str) -> NDArray[np.float64]:
    """Return the score of each candidate, float64; arguments as of `terms`. A candidate alone has the score 0.

    Candidates of which the same is said score exactly the same.
    """
    count = len(log_odds)
    if count < 2:
        return np.zeros(count)
    others = terms(log_odds, aggregation)[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    # sums in one order, since a sum of floats depends on it
    found: NDArray[np.float64] = (
        others.max(1) if aggregation == "max" else others.min(1) if aggregation == "min" else np.sort(others, 1).sum(1)
    )
    return found
