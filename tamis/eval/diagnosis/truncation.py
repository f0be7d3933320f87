"""What a model did not read, because texts are longer than it reads, and what that may have cost.

How many texts were cut, how many tokens of them were lost, and how topics fare whose relevant documents were cut beside
those whose were not. The two groups of topics differ in more than that, so a difference is no proof of a cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.errors import DataError
from tamis.eval.diagnosis.intervals import Mean
from tamis.eval.diagnosis.lengths import Cut, Reader, cut_pairs, cut_texts
from tamis.eval.diagnosis.sampling import aligned, relevant_ids
from tamis.eval.diagnosis.texts import passages_of
from tamis.eval.evaluate import evaluate
from tamis.eval.measures import Measure
from tamis.ranking import Queries, Ranking, Rows
from tamis.stages import DocumentView

BINS = (1.0, 2.0, 4.0, 8.0)
"""Edges of the groups of lengths, in multiples of what the model reads."""

_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class CutInputs:
    """What was cut of one kind of input.

    Attributes:
        what: ``documents``, ``queries`` or ``pairs``.
        count: how many there are.
        cut: how many were cut.
        limit: tokens that the model reads of one at most, as far as these inputs show.
        longest: tokens of the longest; None where lengths cannot be known.
        median: tokens that the cut ones lost: the median; None where nothing was cut, or lengths cannot be known.
        p95: the 95th percentile.
        most: the maximum.
        share_read: median share of their tokens that was read of the cut ones.
        by_length: inputs whose length is up to 1, 2, 4, 8 and more than 8 times the limit; None where lengths cannot be known.
    """

    what: str
    count: int
    cut: int
    limit: int
    longest: int | None
    median: float | None
    p95: float | None
    most: int | None
    share_read: float | None
    by_length: tuple[int, ...] | None

    @classmethod
    def of(cls, what: str, found: Cut) -> CutInputs:
        """Sum up inputs."""
        count, cut, limit = len(found), int(found.cut.sum()), int(found.read.max(initial=0))
        if found.lost is None:
            return cls(what, count, cut, limit, None, None, None, None, None, None)
        lengths = found.read + found.lost
        bins = tuple(np.bincount(np.searchsorted(BINS, lengths / max(limit, 1)), minlength=len(BINS) + 1).tolist())
        longest = int(lengths.max(initial=0))
        if not cut:
            return cls(what, count, 0, limit, longest, None, None, None, None, bins)
        lost = found.lost[found.cut]
        shares = found.read[found.cut] / lengths[found.cut]
        return cls(
            what,
            count,
            cut,
            limit,
            longest,
            float(np.median(lost)),
            float(np.percentile(lost, 95)),
            int(lost.max()),
            float(np.median(shares)),
            bins,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        return {
            "what": self.what,
            "count": self.count,
            "cut": self.cut,
            "limit": self.limit,
            "longest": self.longest,
            "lost": {"median": self.median, "p95": self.p95, "max": self.most},
            "share_read": self.share_read,
            "by_length": None if self.by_length is None else list(self.by_length),
        }


@dataclass(frozen=True, slots=True)
class TopicGroup:
    """Topics that truncation touches alike.

    Attributes:
        name: which they are.
        topics: how many.
        values: means of each measure; None for no topics.
    """

    name: str
    topics: int
    values: tuple[Mean, ...] | None


@dataclass(frozen=True, slots=True)
class Found:
    """Relevant documents, and how many of them the pipeline found.

    Attributes:
        name: which they are.
        documents: judgements of a topic and a document, how many.
        found: how many are in the topic's list.
    """

    name: str
    documents: int
    found: int


@dataclass(frozen=True)
class Effectiveness:
    """How topics fare by whether their relevant documents were cut.

    Attributes:
        pipeline: that ranked.
        depth: results a topic.
        measures: that were computed.
        seed: of the bootstrap.
        groups: of topics: none, some or all of their relevant documents are cut.
        found: relevant documents, cut and whole.
    """

    pipeline: str
    depth: int
    measures: tuple[Measure, ...]
    seed: int
    groups: tuple[TopicGroup, ...]
    found: tuple[Found, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        names = [measure.name for measure in self.measures]
        return {
            "pipeline": self.pipeline,
            "depth": self.depth,
            "seed": self.seed,
            "groups": [
                {
                    "relevant": group.name,
                    "topics": group.topics,
                    "values": None
                    if group.values is None
                    else {name: value.to_dict() for name, value in zip(names, group.values, strict=True)},
                }
                for group in self.groups
            ],
            "found": [{"relevant": one.name, "documents": one.documents, "found": one.found} for one in self.found],
        }


@dataclass(frozen=True)
class Truncation:
    """What a model did not read.

    Attributes:
        model: its address.
        inputs: documents, queries or pairs.
        effectiveness: of topics by what was cut; None without topics.
    """

    model: str
    inputs: tuple[CutInputs, ...]
    effectiveness: Effectiveness | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, unrounded."""
        return {
            "model": self.model,
            "inputs": [one.to_dict() for one in self.inputs],
            "effectiveness": None if self.effectiveness is None else self.effectiveness.to_dict(),
        }


def cut_documents(reader: Reader, documents: DocumentView, rows: Rows) -> Cut:
    """Return what an encoder reads of documents.

    Raises:
        DataError: there are none.
    """
    assert reader.documents is not None  # noqa: S101 - the caller looked
    if not len(rows):
        raise DataError("there are no documents to look at")
    parts = []
    for first in range(0, len(rows), _AT_ONCE):
        passages = passages_of(documents, rows[first : first + _AT_ONCE])
        parts.append(cut_texts(reader.documents, [passage.joined for passage in passages]))
    known = [part.lost for part in parts]
    lost = None if any(one is None for one in known) else np.concatenate([one for one in known if one is not None])
    return Cut(np.concatenate([part.read for part in parts]), lost, np.concatenate([part.cut for part in parts]))


def cut_candidates(reader: Reader, documents: DocumentView, queries: Queries, candidates: Ranking) -> Cut:
    """Return what a reranker reads of the pairs of queries and their candidates, in the order of the ranking.

    Raises:
        DataError: there are none.
    """
    assert reader.pairs is not None  # noqa: S101 - the caller looked
    if not len(candidates.rows):
        raise DataError("there are no candidates to look at: the pipeline found nothing for these topics")
    asked = np.repeat(np.arange(len(queries)), np.diff(candidates.offsets)).tolist()
    passages = passages_of(documents, candidates.rows)
    return cut_pairs(reader.pairs, [queries.texts[i] for i in asked], [passage.joined for passage in passages])


def effectiveness(
    ranking: Ranking,
    queries: Queries,
    qrels: Mapping[str, Mapping[str, int]],
    is_cut: Mapping[int, bool] | Sequence[Mapping[int, bool]],
    measures: Sequence[Measure],
    *,
    pipeline: str,
    depth: int,
    rel: int = 1,
    seed: int = 0,
) -> Effectiveness:
    """Compare topics whose relevant documents are cut with those whose are not.

    Args:
        ranking: of all topics.
        queries: judged topics.
        qrels: judgements.
        is_cut: of rows whether the model cut them; or the same for every topic, where it reads pairs. A relevant document that is
            not in it counts nowhere.
        measures: to compute.
        pipeline: that ranked, for the table.
        depth: results a topic.
        rel: least grade of a relevant document.
        seed: of the bootstrap.
    """
    ranking = aligned(ranking, queries)
    values = evaluate({query: qrels[query] for query in queries.ids}, ranking, measures).values[0]
    names = ("none cut", "some cut", "all cut")
    members: dict[str, list[int]] = {name: [] for name in names}
    counts = {False: [0, 0], True: [0, 0]}
    for i, query in enumerate(queries.ids):
        known = is_cut if isinstance(is_cut, Mapping) else is_cut[i]
        rows = ranking.space.rows(relevant_ids(qrels[query], rel)).tolist()
        flags = {row: known[row] for row in rows if row in known}
        listed = set(ranking.at(i)[0][:depth].tolist())
        for row, flag in flags.items():
            counts[flag][0] += 1
            counts[flag][1] += row in listed
        if flags:
            members[names[0 if not any(flags.values()) else 2 if all(flags.values()) else 1]].append(i)
    groups = tuple(
        TopicGroup(name, len(own), tuple(Mean.of(value[own], seed) for value in values) if own else None)
        for name, own in members.items()
    )
    found = tuple(Found(name, *counts[flag]) for name, flag in (("whole", False), ("cut", True)))
    return Effectiveness(pipeline, depth, tuple(measures), seed, groups, found)
