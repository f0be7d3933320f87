"""Explaining a search: how one document fares at every stage of a pipeline, and what its scores are made of.

The pipeline runs as it always does, for one query, and every step's result is kept; the document is then looked up in each. A
stage that is a `tamis.stages.Explainer` says what its score is made of; fusions, cuts and groupings are explained here. Where a
document is made of passages, a stage over passages is told by the best of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.errors import MissingResourceError
from tamis.pipeline.expressions import PipelineLike
from tamis.pipeline.runner import Runner
from tamis.pipeline.steps import (
    AddUp,
    FuseRanks,
    Given,
    Group,
    Keep,
    Plan,
    Rescore,
    Retrieve,
    Rewrite,
    RoundRobin,
    Step,
    Weigh,
)
from tamis.ranking import DocumentSpace, Queries, Ranking, Rows
from tamis.retrievers import fusion
from tamis.stages import CandidateExplainer, Evidence, Explainer, RowMask

REACH = 100_000
"""How deep a retriever is searched again for a document that its results lack."""

_KINDS: dict[type[Step], str] = {
    Given: "query",
    Retrieve: "retrieve",
    Rescore: "rescore",
    Rewrite: "rewrite",
    Group: "group",
    Keep: "cut",
    Weigh: "weigh",
    AddUp: "weighted sum",
    FuseRanks: "reciprocal rank fusion",
    RoundRobin: "interleave",
}


@dataclass(frozen=True, slots=True)
class StageReport:
    """How the document fared at one step.

    Attributes:
        number: the step's number in the plan.
        kind: ``retrieve``, ``rescore``, ``rewrite``, ``group``, ``cut``, ``weigh``, ``weighted sum``, ``reciprocal rank fusion``,
            ``interleave`` or ``query``.
        name: what the step does, short: its model, or an operator over earlier steps.
        inputs: numbers of the steps whose results it takes.
        id: the document, or the passage of it that stands best at this step.
        rank: its rank from 1; None where it is not among the results, or the step has none.
        score: its score there.
        results: how many results the step has; None where it makes no ranking.
        evidence: what the score is made of; also of a document outside the results, where the stage can tell.
        notes: what happened, in sentences.
    """

    number: int
    kind: str
    name: str
    inputs: tuple[int, ...]
    id: str
    rank: int | None = None
    score: float | None = None
    results: int | None = None
    evidence: Evidence | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "number": self.number,
            "kind": self.kind,
            "name": self.name,
            "inputs": list(self.inputs),
            "id": self.id,
            "rank": self.rank,
            "score": self.score,
            "results": self.results,
            "evidence": None if self.evidence is None else self.evidence.to_dict(),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one document fares with one query.

    Attributes:
        query: the query's text.
        id: the document's id, as asked.
        pipeline: the pipeline's canonical spelling.
        k: results of the search.
        rank: the document's rank in the end, from 1; None where it is not found.
        score: its score in the end.
        stages: one report a step, in the order in which they ran.
    """

    query: str
    id: str
    pipeline: str
    k: int
    rank: int | None
    score: float | None
    stages: tuple[StageReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "query": self.query,
            "id": self.id,
            "pipeline": self.pipeline,
            "k": self.k,
            "rank": self.rank,
            "score": self.score,
            "stages": [stage.to_dict() for stage in self.stages],
        }


def explain(
    runner: Runner, pipeline: PipelineLike, query: str, doc_id: str, k: int, *, mask: RowMask | None = None
) -> Explanation:
    """Explain how a document fares with a query.

    Args:
        runner: runs the pipeline; its source holds the document.
        pipeline: as for `Runner.run`.
        query: the query's text.
        doc_id: id of a document, or of a passage.
        k: results of the search that is explained.
        mask: rows that retrievers may return.

    Raises:
        MissingResourceError: there is no such document.
        TamisError: as `Runner.run`.
    """
    documents = runner.source.documents
    rows = _rows_of(documents, doc_id)
    if not len(rows):
        raise MissingResourceError(f"no document {doc_id!r} here: give the id of a live document or passage")
    plan = runner.plan([pipeline], k)
    work = _Explaining(plan, runner.trace(plan, Queries.of(query), mask=mask), documents, doc_id, rows, mask)
    stages = tuple(work.report(number) for number in range(len(plan.steps)))
    last = stages[plan.outputs[0]]
    return Explanation(query, doc_id, str(plan.pipelines[0]), k, last.rank, last.score, stages)


def _rows_of(space: DocumentSpace, doc_id: str) -> Rows:
    """The rows that stand for a document: itself, or its passages, or for a passage in a space of documents its document."""
    row = space.rows([doc_id])
    if row[0] >= 0:
        return row
    if getattr(space, "has_passages", False):
        passages: Rows = space.document_rows([doc_id])[0]  # type: ignore[attr-defined]
        return passages
    parent = space.rows([doc_id.rpartition("#")[0]]) if "#" in doc_id else row
    return parent[parent >= 0]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the document stands in one ranking."""

    row: int
    rank: int
    score: float
    others: int  # passages of the document further down


class _Explaining:
    def __init__(
        self,
        plan: Plan,
        results: Sequence[Queries | Ranking],
        documents: DocumentSpace,
        doc_id: str,
        rows: Rows,
        mask: RowMask | None,
    ) -> None:
        self.plan, self.results, self.documents, self.doc_id, self.mask = plan, results, documents, doc_id, mask
        self.rows = {documents.key: rows}

    # -- looking up ------------------------------------------------------------------------------------------------

    def queries(self, number: int) -> Queries:
        found = self.results[number]
        assert isinstance(found, Queries)  # noqa: S101 - the plan says so
        return found

    def ranking(self, number: int) -> Ranking:
        found = self.results[number]
        assert isinstance(found, Ranking)  # noqa: S101 - the plan says so
        return found

    def rows_in(self, space: DocumentSpace) -> Rows:
        if space.key not in self.rows:
            self.rows[space.key] = _rows_of(space, self.doc_id)
        return self.rows[space.key]

    def place_in(self, ranking: Ranking) -> _Place | None:
        rows, scores = ranking.at(0)
        found = np.flatnonzero(np.isin(rows, self.rows_in(ranking.space)))
        if not len(found):
            return None
        first = int(found[0])
        return _Place(int(rows[first]), first + 1, float(scores[first]), len(found) - 1)

    def place(self, number: int) -> _Place | None:
        return self.place_in(self.ranking(number))

    def label(self, number: int) -> str:
        """What a step is called where another takes its result."""
        step = self.plan.steps[number]
        if isinstance(step, (Retrieve, Rescore, Group, Rewrite)):
            return step.stage.name
        if isinstance(step, Keep):
            return f"{self.label(step.inputs[0])} % {step.k}"
        if isinstance(step, Weigh):
            return f"{step.weight:g}*{self.label(step.inputs[0])}"
        inputs = [self.label(i) for i in step.inputs]
        if isinstance(step, AddUp):
            inputs = [f"{weight:g}*{name}" for weight, name in zip(step.weights, inputs, strict=True)]
            options = [f"norm={step.norm}"] * (step.norm != "none") + [f"missing={step.missing}"] * (
                step.missing != "zero"
            )
            return f"wsum({', '.join([*inputs, *options])})"
        if isinstance(step, FuseRanks):
            return f"rrf({', '.join(inputs)}{f', k={step.k}' if step.k != 60 else ''})"
        return f"interleave({', '.join(inputs)})" if isinstance(step, RoundRobin) else str(step)

    # -- reporting -------------------------------------------------------------------------------------------------

    def report(self, number: int) -> StageReport:
        step, result = self.plan.steps[number], self.results[number]
        place = self.place(number) if isinstance(result, Ranking) else None
        evidence, notes = self.evidence(step, number, place)
        shown = self.doc_id
        if isinstance(result, Ranking):
            best = self.rows_in(result.space)[:1] if place is None else np.array([place.row], np.int64)
            if place is None and len(self.rows_in(result.space)) > 1:
                best = best[:0]
            shown = result.space.ids(best)[0] if len(best) else self.doc_id
            if place is not None and place.others:
                notes = (*notes, f"the best of {place.others + 1} passages among the results")
        return StageReport(
            number,
            _KINDS[type(step)],
            self.label(number),
            step.inputs,
            shown,
            None if place is None else place.rank,
            None if place is None else place.score,
            len(result.rows) if isinstance(result, Ranking) else None,
            evidence,
            notes,
        )

    def evidence(self, step: Step, number: int, place: _Place | None) -> tuple[Evidence | None, tuple[str, ...]]:
        match step:
            case Retrieve((queries,), _, depth):
                return self.retrieved(step, number, self.queries(queries), depth, place)
            case Rescore((queries, ranking), _, limit):
                return self.rescored(step, self.queries(queries), ranking, limit, place)
            case Rewrite():
                return self.rewritten(step, self.queries(step.inputs[0]), self.queries(number))
            case Group((ranking,), _):
                return self.grouped(self.ranking(ranking), place)
            case Keep((ranking,), k):
                return None, self.kept(self.place(ranking), k, place)
            case Weigh((ranking,), weight):
                return self.weighed(ranking, weight, place)
            case AddUp():
                return self.added(step, place)
            case FuseRanks(inputs, k):
                return self.fused(inputs, k, place)
            case RoundRobin(inputs):
                return self.interleaved(inputs, place)
            case _:
                return None, ()

    def asked(self, stage: Any, queries: Queries, place: _Place | None) -> tuple[Evidence | None, tuple[str, ...]]:
        """The stage's own evidence: of the row that stands in its results, else of the document's best."""
        if not isinstance(stage, Explainer):
            return None, ("this stage gives no evidence",)
        rows = self.rows[self.documents.key] if place is None else np.array([place.row], np.int64)
        found = stage.explain(queries, rows, mask=self.mask)[0]
        return max(found, key=lambda e: -np.inf if e.value is None else e.value), ()

    def retrieved(
        self, step: Retrieve, number: int, queries: Queries, depth: int, place: _Place | None
    ) -> tuple[Evidence | None, tuple[str, ...]]:
        stage = step.stage.object
        evidence, notes = self.asked(stage, queries, place)
        if place is not None:
            return evidence, notes
        if self.mask is not None and not self.mask[self.rows[self.documents.key]].any():
            return evidence, (*notes, "the filter leaves it out")
        if evidence is not None and evidence.value is None:
            return evidence, (*notes, "the query does not match it")
        results = self.ranking(number)
        if len(results.rows) < depth:
            return evidence, (*notes, "not found, though the stage was asked for more results than it has")
        if getattr(stage, "depth_dependent", False):
            return evidence, (*notes, f"not among its {depth} results")
        deeper = self.place_in(stage.retrieve(queries, max(REACH, depth), mask=self.mask))
        if deeper is None:
            return evidence, (*notes, f"not among its first {max(REACH, depth)} results")
        return evidence, (*notes, f"dropped by % {depth} at rank {deeper.rank}, score {deeper.score:.4f}")

    def rescored(
        self, step: Rescore, queries: Queries, candidates: int, limit: int | None, place: _Place | None
    ) -> tuple[Evidence | None, tuple[str, ...]]:
        before, stage = self.place(candidates), step.stage.object
        if before is None or place is None:
            return None, ("not among the candidates",)
        if limit is not None and before.rank > limit:
            return None, (f"rank {before.rank} is beyond depth={limit}: not re-scored, it follows below",)
        notes: tuple[str, ...] = ()
        if isinstance(stage, CandidateExplainer):
            ranking = self.ranking(candidates)
            read = ranking if limit is None else ranking.cut(limit)
            evidence: Evidence | None = stage.explain_candidates(queries, read)[0][
                read.at(0)[0].tolist().index(place.row)
            ]
        else:
            evidence, notes = self.asked(stage, queries, place)
        moved = f"rank {before.rank} → {place.rank}, score {before.score:.4f} → {place.score:.4f}"
        return evidence, (moved, *notes)

    def rewritten(self, step: Rewrite, before: Queries, after: Queries) -> tuple[Evidence | None, tuple[str, ...]]:
        notes = () if after.texts == before.texts else (f"the query is now: {after.texts[0]}",)
        if after.terms is None:
            return None, notes
        terms = sorted(after.terms[0].items(), key=lambda item: (-item[1], item[0]))
        return Evidence(step.stage.name, None, {}, tuple(Evidence(term, weight) for term, weight in terms)), notes

    def grouped(self, passages: Ranking, place: _Place | None) -> tuple[Evidence | None, tuple[str, ...]]:
        rows, scores = passages.at(0)
        parents = self.documents.parents(rows) if hasattr(self.documents, "parents") else rows
        own = self.rows_in(passages.space)
        wanted = np.isin(parents, self.documents.parents(own) if hasattr(self.documents, "parents") else own)
        found = np.flatnonzero(wanted)
        if not len(found):
            return None, ("none of its passages is among the results",)
        children = tuple(
            Evidence(name, float(scores[i]), {"rank": int(i) + 1})
            for name, i in zip(passages.space.ids(rows[found]), found, strict=True)
        )
        count = f"{len(found)} passage{'s' if len(found) > 1 else ''}"
        notes = () if place is not None else (f"{count} found, of which this stage takes none",)
        return Evidence(count, None if place is None else place.score, {}, children), notes

    def kept(self, before: _Place | None, k: int, place: _Place | None) -> tuple[str, ...]:
        if before is None:
            return ()
        return () if place is not None else (f"dropped by % {k} at rank {before.rank}",)

    def weighed(self, number: int, weight: float, place: _Place | None) -> tuple[Evidence | None, tuple[str, ...]]:
        before = self.place(number)
        if before is None or place is None:
            return None, ()
        return Evidence(
            f"{weight:g} times {before.score:.4f}", place.score, {"weight": weight, "score": before.score}
        ), ()

    def added(self, step: AddUp, place: _Place | None) -> tuple[Evidence | None, tuple[str, ...]]:
        if place is None:
            return None, ("in none of the fused lists",)
        children = []
        for number, weight in zip(step.inputs, step.weights, strict=True):
            ranking = self.ranking(number)
            normal, found = fusion.normalise(ranking, step.norm), self.found(ranking, place.row)
            if found is None:
                value = float(normal.min()) if step.missing == "min" and len(normal) else 0.0
            else:
                value = float(normal[found.rank - 1])
            details = {**_standing(found), "normalised": value, "weight": weight}
            children.append(Evidence(self.label(number), weight * value, details))
        return Evidence(f"norm {step.norm}, missing {step.missing}", place.score, {}, tuple(children)), ()

    def fused(self, inputs: tuple[int, ...], k: int, place: _Place | None) -> tuple[Evidence | None, tuple[str, ...]]:
        if place is None:
            return None, ("in none of the fused lists",)
        children = []
        for number in inputs:
            found = self.found(self.ranking(number), place.row)
            children.append(
                Evidence(self.label(number), 0.0 if found is None else 1.0 / (k + found.rank), _standing(found))
            )
        return Evidence(f"sum of 1 / ({k} + rank)", place.score, {}, tuple(children)), ()

    def interleaved(self, inputs: tuple[int, ...], place: _Place | None) -> tuple[Evidence | None, tuple[str, ...]]:
        if place is None:
            return None, ("in none of the interleaved lists",)
        found = [self.found(self.ranking(number), place.row) for number in inputs]
        turns = [None if f is None else (f.rank - 1) * len(inputs) + i + 1 for i, f in enumerate(found)]
        first = min((turn, i) for i, turn in enumerate(turns) if turn is not None)[1]
        children = tuple(
            Evidence(self.label(number), None, {**_standing(f), "turn": turn})
            for number, f, turn in zip(inputs, found, turns, strict=True)
        )
        return Evidence("1 / rank", place.score, {}, children), (f"its place comes from {self.label(inputs[first])}",)

    def found(self, ranking: Ranking, row: int) -> _Place | None:
        """Where one row stands in an input of a fusion."""
        rows, scores = ranking.at(0)
        at = np.flatnonzero(rows == row)
        return _Place(row, int(at[0]) + 1, float(scores[at[0]]), 0) if len(at) else None


def _standing(place: _Place | None) -> dict[str, Any]:
    return {"rank": None if place is None else place.rank, "score": None if place is None else place.score}
