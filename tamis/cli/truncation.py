"""The work of `tamis diagnose truncation`: an encoder's documents and queries, or a reranker's pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.cli.session import Session
from tamis.errors import UsageError

if TYPE_CHECKING:
    from tamis.engine import Index
    from tamis.eval.diagnosis.lengths import Reader
    from tamis.eval.diagnosis.truncation import CutInputs, Truncation
    from tamis.families import Address
    from tamis.ranking import Queries

Flags = Mapping[int, bool] | Sequence[Mapping[int, bool]]


def diagnose_truncation(
    session: Session,
    folder: Path,
    model: str,
    topics: str | None,
    qrels: str | None,
    *,
    pipeline: str | None,
    depth: int,
    measures: Sequence[str],
    rel: int,
    sample: int | None,
    seed: int,
    threads: int | None,
) -> Truncation:
    """Count what a model cuts; with topics and judgements also compare topics by it.

    Raises:
        UsageError: the model does not say what it cuts, or is a reranker and there are no topics.
        DataError: fewer than two topics are judged.
    """
    from tamis.cli.diagnosis import open_whole
    from tamis.data.qrels import read_qrels
    from tamis.data.topics import read_topics
    from tamis.eval.diagnosis.lengths import reader_of
    from tamis.eval.diagnosis.models import open_text_model
    from tamis.eval.diagnosis.sampling import judged_topics
    from tamis.eval.diagnosis.truncation import Truncation, effectiveness
    from tamis.eval.measures import parse_measures
    from tamis.families import Address

    parsed, address = parse_measures(measures), Address.parse(model)
    if "windows" in dict(address.options):
        raise UsageError(f"{model}: with windows a model reads all of a document, window by window: nothing is cut")
    chosen = open_text_model(address)
    reader = reader_of(chosen)
    if topics is None and reader.documents is None:
        raise UsageError(f"{model} reads a query with a document: give --topics and --qrels")
    queries: Queries | None = None
    judgements: Any = {}
    if topics is not None and qrels is not None:
        judgements = read_qrels(qrels)
        queries = judged_topics(read_topics(topics), judgements, rel=rel, sample=sample, seed=seed)
    with open_whole(session, folder, threads) as index:
        work = _Work(index, reader, queries, judgements, rel, depth)
        ranker = pipeline or _default_pipeline(index, address, encodes=reader.documents is not None)
        inputs, flags = work.of_documents(sample, seed) if reader.documents is not None else work.of_pairs(ranker)
        found = None
        if queries is not None:
            ranking = index.rank(queries, depth, pipeline=ranker)
            session.resolved.update(pipeline=ranker, depth=depth, used=len(queries))
            found = effectiveness(
                ranking, queries, judgements, flags, parsed, pipeline=ranker, depth=depth, rel=rel, seed=seed
            )
    session.resolved.update(model=str(address), seed=seed)
    return Truncation(chosen.name, tuple(inputs), found)


class _Work:
    """What is cut, of an open index."""

    def __init__(self, index: Index, reader: Reader, queries: Queries | None, qrels: Any, rel: int, depth: int) -> None:
        self.index, self.reader, self.queries, self.qrels = index, reader, queries, qrels
        self.rel, self.depth = rel, depth

    def of_documents(self, sample: int | None, seed: int) -> tuple[list[CutInputs], Flags]:
        """An encoder's documents and queries; and which relevant documents were cut."""
        import numpy as np

        from tamis.cli.diagnosis import sampled_rows
        from tamis.eval.diagnosis.lengths import cut_texts
        from tamis.eval.diagnosis.truncation import CutInputs, cut_documents

        documents, rows = self.index.documents, sampled_rows(self.index, sample, seed)
        every = np.union1d(rows, np.concatenate([np.zeros(0, np.int64), *self._relevant()])).astype(np.int64)
        cut = cut_documents(self.reader, documents, every)
        inputs = [CutInputs.of("documents", cut.take(np.searchsorted(every, rows)))]
        if self.queries is not None and self.reader.queries is not None:
            inputs.append(CutInputs.of("queries", cut_texts(self.reader.queries, self.queries.texts)))
        return inputs, dict(zip(every.tolist(), cut.cut.tolist(), strict=True))

    def of_pairs(self, ranker: str) -> tuple[list[CutInputs], Flags]:
        """A reranker's pairs of topics and candidates; and which relevant documents were cut, with each topic."""
        from tamis.eval.diagnosis.truncation import CutInputs, cut_candidates
        from tamis.ranking import Ranking

        assert self.queries is not None  # noqa: S101 - the caller looked
        documents, queries = self.index.documents, self.queries
        ranking = self.index.rank(queries, self.depth, pipeline=ranker)
        cut = cut_candidates(self.reader, documents, queries, ranking)
        lists = [(rows, rows * -1.0) for rows in self._relevant()]
        relevant = Ranking.from_lists(documents, queries.ids, lists)
        flags = cut_candidates(self.reader, documents, queries, relevant).cut if len(relevant.rows) else cut.cut[:0]
        return [CutInputs.of("pairs", cut)], [
            dict(
                zip(
                    relevant.at(i)[0].tolist(),
                    flags[relevant.offsets[i] : relevant.offsets[i + 1]].tolist(),
                    strict=True,
                )
            )
            for i in range(len(relevant))
        ]

    def _relevant(self) -> list[Any]:
        """The rows of every topic's relevant documents that the index holds."""
        from tamis.eval.diagnosis.sampling import relevant_ids

        found = []
        for query in self.queries.ids if self.queries is not None else ():
            rows = self.index.documents.rows(relevant_ids(self.qrels[query], self.rel))
            found.append(rows[rows >= 0])
        return found


def _default_pipeline(index: Index, address: Address, *, encodes: bool) -> str:
    """The model itself where it encoded a part of the index; else the model on BM25's candidates."""
    from tamis.families import family, scoped_address

    own = str(scoped_address(address, family(address.family).Options, "model"))
    return str(address) if encodes and own in index.models().values() else f"bm25 % 100 >> {address}"
