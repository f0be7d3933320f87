"""Which judged topics a diagnosis looks at: all, or a sample that a seed decides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tamis.errors import DataError, UsageError
from tamis.ranking import Queries, Ranking

LEAST = 2
"""Queries that every diagnosis needs: an interval over one says nothing."""


def relevant_ids(grades: Mapping[str, int], rel: int) -> list[str]:
    """Return the documents of a query graded at least `rel`."""
    return [doc_id for doc_id, grade in grades.items() if grade >= rel]


def judged_topics(
    queries: Queries, qrels: Mapping[str, Mapping[str, int]], *, rel: int = 1, sample: int | None = None, seed: int = 0
) -> Queries:
    """Return the topics with a relevant document, in their order; at most `sample` of them, drawn by `seed`.

    Which are drawn depends on the seed and the ids alone, not on the order of the topics.

    Raises:
        DataError: fewer than two topics have a relevant document.
        UsageError: `sample` is below 2, or `rel` below 1.
    """
    if rel < 1:
        raise UsageError(f"rel={rel}: the least grade of a relevant document must be at least 1")
    kept = [i for i, query in enumerate(queries.ids) if relevant_ids(qrels.get(query, {}), rel)]
    if len(kept) < LEAST:
        raise DataError(
            f"{len(kept)} of the {len(queries)} topics have a document graded at least {rel} in the qrels, and at "
            f"least {LEAST} "
            "are needed: do topics and qrels belong together?"
        )
    return queries.take(sampled(kept, [queries.ids[i] for i in kept], sample, seed))


def sampled(places: list[int], ids: list[str], sample: int | None, seed: int) -> list[int]:
    """Return at most `sample` of `places`, ascending, chosen by the seed and by the `ids` that go with them.

    Raises:
        UsageError: `sample` is below 2.
    """
    if sample is None:
        return places
    if sample < LEAST:
        raise UsageError(f"sample={sample}: at least {LEAST} are needed for an interval")
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    drawn = np.random.default_rng(seed).permutation(len(by_id))[:sample]
    return sorted(places[by_id[i]] for i in drawn.tolist())


def aligned(ranking: Ranking, queries: Queries) -> Ranking:
    """Return the lists of `queries`, in their order; a query that the ranking lacks has an empty one."""
    where = {query: i for i, query in enumerate(ranking.query_ids)}
    empty = (np.zeros(0, np.int64), np.zeros(0))
    lists = [ranking.at(where[query]) if query in where else empty for query in queries.ids]
    return Ranking.from_lists(ranking.space, queries.ids, lists)
