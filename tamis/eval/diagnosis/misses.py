"""What one first stage finds that another does not: relevant documents in both, in one, or in neither.

Wrzalik and Krechel, "CoRT: Complementary Rankings from Transformers", NAACL 2021: a retriever is worth what it adds to
the one there is. What it could add at most is the union of both; what it does add is shown by taking results in turns,
as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.errors import DataError, UsageError
from tamis.eval.diagnosis.intervals import INTERVAL, Mean
from tamis.eval.diagnosis.sampling import LEAST, aligned, relevant_ids
from tamis.eval.tables import Cell, Table
from tamis.ranking import Queries, Ranking
from tamis.retrievers.fusion import interleave


@dataclass(frozen=True, slots=True)
class QueryMisses:
    """A query's relevant documents at one depth, by id.

    Attributes:
        query: its id.
        both: found by both.
        only_first: found by the first system alone.
        only_second: found by the second alone.
        neither: found by none.
    """

    query: str
    both: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    neither: tuple[str, ...]

    @property
    def relevant(self) -> int:
        """Number of relevant documents."""
        return len(self.both) + len(self.only_first) + len(self.only_second) + len(self.neither)


@dataclass(frozen=True, slots=True)
class AtDepth:
    """All queries at one depth.

    Attributes:
        depth: results a query that count.
        queries: each of them.
        first: mean recall of the first system.
        second: of the second.
        merged: of both in turns, the second first, at the same depth.
        union: of both together, twice the results: the most that any fusion at this depth can find.
        gain: of the merged list over the first system, query by query.
    """

    depth: int
    queries: tuple[QueryMisses, ...]
    first: Mean
    second: Mean
    merged: Mean
    union: Mean
    gain: Mean

    def count(self, which: str) -> int:
        """Return how many relevant documents are in ``both``, ``only_first``, ``only_second`` or ``neither``."""
        return sum(len(getattr(one, which)) for one in self.queries)


@dataclass(frozen=True)
class Misses:
    """What two systems find.

    Attributes:
        systems: names of the first and the second.
        rel: least grade of a relevant document.
        seed: of the bootstrap.
        at: each depth, ascending.
    """

    systems: tuple[str, str]
    rel: int
    seed: int
    at: tuple[AtDepth, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded, with the ids of every query's documents."""
        return {
            "systems": list(self.systems),
            "rel": self.rel,
            "seed": self.seed,
            "queries": len(self.at[0].queries),
            "depths": [
                {
                    "depth": one.depth,
                    **{name: one.count(name) for name in PARTS},
                    "recall": {
                        name: getattr(one, name).to_dict() for name in ("first", "second", "merged", "union", "gain")
                    },
                    "per_query": {own.query: {name: list(getattr(own, name)) for name in PARTS} for own in one.queries},
                }
                for one in self.at
            ],
        }


PARTS = ("both", "only_first", "only_second", "neither")


def find_misses(
    systems: Mapping[str, Ranking],
    queries: Queries,
    qrels: Mapping[str, Mapping[str, int]],
    depths: Sequence[int],
    *,
    rel: int = 1,
    seed: int = 0,
) -> Misses:
    """Compare which relevant documents two systems find.

    Args:
        systems: two rankings by name, over one space; the question is what the second adds to the first.
        queries: judged ones.
        qrels: judgements.
        depths: results a query that count.
        rel: least grade of a relevant document.
        seed: of the bootstrap.

    Raises:
        UsageError: not two systems, or a depth below 1.
        DataError: fewer than two queries, or none has any result.
        SpaceMismatchError: the rankings are over different spaces.
    """
    if len(systems) != LEAST:
        raise UsageError(
            f"{len(systems)} different systems: exactly two are compared, what the second adds to the first"
        )
    if not depths or min(depths) < 1:
        raise UsageError(f"depths {list(depths)}: at least one is needed, and each must be at least 1")
    if len(queries) < LEAST:
        raise DataError(f"{len(queries)} judged queries: at least {LEAST} are needed")
    first, second = (aligned(ranking, queries) for ranking in systems.values())
    second.require_space(first.space)
    if not len(first.rows) or not len(second.rows):
        empty = list(systems)[0 if not len(first.rows) else 1]
        raise DataError(
            f"{empty}: no results for any of the {len(queries)} judged topics: are they the topics of the run?"
        )
    found = []
    for depth in sorted(set(depths)):
        a, b = first.cut(depth), second.cut(depth)
        merged = aligned(interleave([b, a]), queries).cut(depth)
        found.append(_at_depth(depth, queries, qrels, (a, b, merged), rel, seed))
    names = list(systems)
    return Misses((names[0], names[1]), rel, seed, tuple(found))


def _at_depth(
    depth: int,
    queries: Queries,
    qrels: Mapping[str, Mapping[str, int]],
    rankings: tuple[Ranking, Ranking, Ranking],
    rel: int,
    seed: int,
) -> AtDepth:
    per_query, recalls = [], []
    for i, query in enumerate(queries.ids):
        names = sorted(relevant_ids(qrels[query], rel))
        rows = rankings[0].space.rows(names)
        a, b, merged = (np.isin(rows, ranking.at(i)[0]) for ranking in rankings)
        groups = [
            [name for name, inside in zip(names, mask.tolist(), strict=True) if inside]
            for mask in (a & b, a & ~b, ~a & b, ~a & ~b)
        ]
        per_query.append(QueryMisses(query, *map(tuple, groups)))
        recalls.append([float(mask.mean()) for mask in (a, b, merged, a | b)])
    table = np.array(recalls)
    first, second, together, union = (Mean.of(column, seed) for column in table.T)
    gain = Mean.of(table[:, 2] - table[:, 0], seed)
    return AtDepth(depth, tuple(per_query), first, second, together, union, gain)


def misses_table(found: Misses) -> Table:
    """Return one row a depth: where the relevant documents are, and recall."""
    first, second = found.systems
    rows = tuple(
        (
            Cell(one.depth),
            *(Cell(one.count(name)) for name in PARTS),
            Cell(one.first.mean),
            Cell(one.second.mean),
            Cell(one.merged.mean),
            Cell(one.union.mean),
            *one.gain.cells(signed=True),
        )
        for one in found.at
    )
    header = (
        "depth",
        "both",
        "only A",
        "only B",
        "neither",
        "R of A",
        "R of B",
        "R in turns",
        "R of union",
        "gain",
        "gain low",
        "gain high",
    )
    queries = found.at[0].queries
    notes = (
        (
            f"A: {first}; B: {second}; {len(queries)} queries, {sum(one.relevant for one in queries):,} relevant "
            f"documents (grade at least "
            f"{found.rel})."
        ),
        (
            "R: recall at the depth, mean over queries. In turns: B and A in turns, cut at the depth; gain: that less A. "
            "Union: both lists, "
            "what a fusion can find at most."
        ),
        INTERVAL.format(unit="queries", seed=found.seed),
    )
    return Table(header, rows, notes)


def queries_table(found: Misses) -> Table:
    """Return one row a depth and query."""
    rows = tuple(
        (Cell(one.depth), Cell(own.query), *(Cell(len(getattr(own, name))) for name in PARTS))
        for one in found.at
        for own in one.queries
    )
    return Table(("depth", "query", "both", "only A", "only B", "neither"), rows)


def misses_chart(found: Misses) -> str:
    """Return where the relevant documents are, by depth, as SVG."""
    from tamis.eval.charts import bar_chart

    total = max(1, sum(one.relevant for one in found.at[0].queries))
    names = {"both": "both", "only_first": found.systems[0], "only_second": found.systems[1], "neither": "neither"}
    names = {part: f"only {name}" if part.startswith("only") else name for part, name in names.items()}
    values = {name: [one.count(part) / total for one in found.at] for part, name in names.items()}
    return bar_chart(
        [str(one.depth) for one in found.at], values, y_label="share of the relevant documents", x_label="depth"
    )
