"""The stage that every model of pairs is used through: from a ranking to pairs, and from their scores to a ranking.

It makes the (query, passage) pairs of a batch, each once; cuts long documents into windows; takes from the cache what is known;
scores the rest in chunks, each of which goes to the cache when it is done; and pools and sorts.

Under a deadline the pairs of the highest ranks are scored first. A document that is not scored in time, or for which a scorer
gives a score that is not finite (one that asks a server may give up on a pair), stands below those that are, in the old order
and at the old distances; its query is marked partial. A query of which nothing is scored keeps its list as it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import Passage, Tick
from tamis.encoders.batching import Numerics
from tamis.errors import MissingResourceError, UsageError
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.ranking import Queries, Ranking, Rows, Scores, tie_order
from tamis.rerankers.attribution import attribute
from tamis.rerankers.base import PairExplainer, PairScorer
from tamis.rerankers.cache import PairCache, default_cache, pair_keys
from tamis.rerankers.options import RerankOptions
from tamis.rerankers.windows import Tokenized, Windows, parse_pool
from tamis.stages import DocumentView, Evidence, RowMask

CHUNK_SECONDS = 20.0
"""What an interrupted run may lose."""

CHUNK = 8192
"""Pairs of a chunk at most: enough for batches of equal lengths."""

FIRST_CHUNK = 256
FIRST_CHUNK_OF_DEADLINE = 8
"""Pairs that are scored before it is known how fast that goes."""

Clock = Callable[[], float]


@runtime_checkable
class Metered(Protocol):
    """A scorer that counts the tokens it has read."""

    tokens: int


@dataclass
class Usage:
    """What re-scoring has cost so far.

    Attributes:
        pairs: of a query and a passage or window, as the rankings had them.
        distinct: those that differ.
        cached: those that the cache knew.
        scored: those that the model scored.
        failed: those that it gave up on.
        late: those that a deadline left out.
        truncated: of those scored, how many were longer than the model reads.
        tokens: that the model read; None where it does not count them.
        seconds: in all, loading the model included.
        model_seconds: in the model.
    """

    pairs: int = 0
    distinct: int = 0
    cached: int = 0
    scored: int = 0
    failed: int = 0
    late: int = 0
    truncated: int = 0
    tokens: int | None = None
    seconds: float = 0.0
    model_seconds: float = 0.0


class _Work(NamedTuple):
    """The distinct pairs of a batch, those of the highest ranks first.

    Attributes:
        queries: text of each pair's query.
        passages: each pair's passage or window.
        places: int64, for every window of every candidate the number of its pair.
        starts: int64, where in `places` each candidate's windows begin.
    """

    queries: list[str]
    passages: list[Passage]
    places: NDArray[np.int64]
    starts: NDArray[np.int64]


class PairReranker:
    """A `tamis.stages.Rescorer` over any `PairScorer`.

    Args:
        documents: whose texts are read.
        open_scorer: loads the model, when the first pair comes that the cache does not know.
        options: see `RerankOptions`.
        name: what events call the stage.
        cannot_retrieve: the error for a pipeline that wants it to retrieve.
        clock: tells the time in seconds.

    Raises:
        UsageError: windows or pool are malformed.
    """

    def __init__(
        self,
        documents: DocumentView,
        open_scorer: Callable[[], PairScorer],
        options: RerankOptions,
        *,
        name: str = "rerank",
        cannot_retrieve: MissingResourceError | UsageError | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._documents, self._open, self.options, self.name = documents, open_scorer, options, name
        self._windows = None if options.windows is None else Windows.parse(options.windows, options.max_windows)
        self._pool = parse_pool(options.pool)
        self._cache: PairCache | None = default_cache() if options.cache else None
        self._clock, self.cannot_retrieve = clock, cannot_retrieve
        self._scorer: PairScorer | None = None
        self._lock = threading.Lock()
        self.usage = Usage()

    @property
    def scorer(self) -> PairScorer:
        """The model.

        Raises:
            UsageError: windows are counted in tokens, and it has none.
        """
        with self._lock:
            if self._scorer is None:
                scorer = self._open()
                if self._windows is not None and not isinstance(scorer, Tokenized):
                    raise UsageError(
                        f"windows={self.options.windows}: {scorer.identity.address} has no tokenizer of its own to count with"
                    )
                numerics = getattr(scorer, "numerics", None)
                if self.options.batch_tokens is not None and isinstance(numerics, Numerics):
                    scorer.numerics = replace(numerics, tokens=self.options.batch_tokens)  # type: ignore[attr-defined]
                self._scorer = scorer
            return self._scorer

    def rescore(self, queries: Queries, ranking: Ranking, *, listener: Listener = ignore) -> Ranking:
        """Return `ranking` in the order of the model's scores.

        Args:
            queries: the batch.
            ranking: the candidates of each.
            listener: hears of the pairs that are done.

        Raises:
            ModelError: the model failed; what it scored before is in the cache.
            StorageError: the cache cannot be used.
        """
        ranking.require_space(self._documents)
        begun = self._clock()
        scores = self._score(queries.texts, ranking, listener)
        self.usage.seconds += self._clock() - begun
        lists, late = [], []
        for i in range(len(ranking)):
            span = slice(int(ranking.offsets[i]), int(ranking.offsets[i + 1]))
            lists.append(reorder(ranking.rows[span], ranking.scores[span], scores[span]))
            late.append(bool(np.isnan(scores[span]).any()))
        partial = (ranking.partial | np.array(late, np.bool_)).tolist()
        return Ranking.from_lists(ranking.space, ranking.query_ids, lists, partial=partial)

    def cost(self) -> dict[str, Any]:
        """Return what the work has cost so far: `Usage` by name, and the pairs that the model scores a second."""
        usage = self.usage
        cost = {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(usage).items()}
        rate = round(usage.scored / usage.model_seconds, 1) if usage.model_seconds else None
        return {**cost, "pairs_per_second": rate}

    def explain(
        self, queries: Queries, rows: NDArray[np.int64], *, mask: RowMask | None = None
    ) -> list[list[Evidence]]:
        """Return the score, those of the windows that it is made of, and what makes them; see `tamis.stages.Explainer`.

        A model that tells no parts of its scores is asked again without each word: see `tamis.rerankers.attribution`.
        """
        rows = np.asarray(rows, np.int64)
        asked = Ranking.from_lists(self._documents, queries.ids, [(rows, np.zeros(len(rows)))] * len(queries))
        if not len(asked.rows):
            return [[] for _ in queries.ids]
        work = self._pairs(queries.texts, asked)
        windows = self._distinct_scores(work, ignore, None)[work.places]
        scores = self._pool(windows, work.starts)
        parts = np.split(windows, work.starts[1:])
        passages = np.split(work.places, work.starts[1:])
        found = [
            self._evidence(float(score), part, work, places.tolist())
            for score, part, places in zip(scores, parts, passages, strict=True)
        ]
        return [found[i : i + len(rows)] for i in range(0, len(found), len(rows))]

    def _evidence(self, score: float, windows: Scores, work: _Work, places: Sequence[int]) -> Evidence:
        """The evidence of a candidate: its windows and, where the model tells, the parts of their scores.

        Words are left out of one window only, the best: a document of many would cost as much as many documents.
        """
        value = None if np.isnan(score) else score
        best = -1 if np.isnan(windows).all() else int(np.nanargmax(windows))
        parts = [
            self._parts(work.queries[place], work.passages[place], float(one), words=i == best)
            for i, (place, one) in enumerate(zip(places, windows, strict=True))
        ]
        if self._windows is None:
            return Evidence("pair score", value, {}, parts[0])
        children = tuple(
            Evidence(
                text if len(text) <= 60 else f"{text[:59]}…",
                None if np.isnan(one) else float(one),
                {"window": i + 1},
                part,
            )
            for i, (text, one, part) in enumerate(
                zip([work.passages[place].text for place in places], windows, parts, strict=True)
            )
        )
        return Evidence(f"pool {self.options.pool} of {len(children)} windows", value, {}, children)

    def _parts(self, query: str, passage: Passage, score: float, *, words: bool) -> tuple[Evidence, ...]:
        """What the score of a pair is made of: as the model tells, else what each word is worth, if that is wanted."""
        scorer = self.scorer
        parts = tuple(scorer.explain_pair(query, passage)) if isinstance(scorer, PairExplainer) else ()
        if parts or not words or not self.options.occlusions:
            return parts
        return (attribute(scorer, query, passage, score, self.options.occlusions),)

    # -- pairs -----------------------------------------------------------------------------------------------------

    def _score(self, texts: Sequence[str], ranking: Ranking, listener: Listener) -> Scores:
        """Return the score of every entry of a ranking, not a number where there is none."""
        if not len(ranking.rows):
            return np.zeros(0)
        scorer = self.scorer  # a deadline is for the work, not for loading the model
        limit = None if self.options.deadline is None else self._clock() + self.options.deadline
        read = scorer.tokens if isinstance(scorer, Metered) else 0
        work = self._pairs(texts, ranking)
        scores = self._pool(self._distinct_scores(work, listener, limit)[work.places], work.starts)
        if isinstance(scorer, Metered):
            self.usage.tokens = (self.usage.tokens or 0) + scorer.tokens - read
        return scores

    def _pairs(self, texts: Sequence[str], ranking: Ranking) -> _Work:
        rows, of_row = np.unique(ranking.rows, return_inverse=True)
        passages, parts = self._passages(rows)
        lengths = np.diff(ranking.offsets)
        of_query = _numbers(texts)[np.repeat(np.arange(len(ranking)), lengths)]
        rank = np.arange(len(ranking.rows)) - np.repeat(ranking.offsets[:-1], lengths)
        # one entry of these for every window of every candidate
        counts = np.array([len(part) for part in parts], np.int64)[of_row]
        windows = np.concatenate([parts[i] for i in of_row.tolist()])
        pairs = np.repeat(of_query, counts) * len(passages) + windows
        _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        ranks = np.full(len(first), np.iinfo(np.int64).max)
        np.minimum.at(ranks, inverse, np.repeat(rank, counts))
        order = np.lexsort((first, ranks))
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        chosen = first[order]
        distinct_texts = list(dict.fromkeys(texts))
        queries = [distinct_texts[i] for i in np.repeat(of_query, counts)[chosen].tolist()]
        self.usage.pairs += len(pairs)
        self.usage.distinct += len(chosen)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)[:-1]])
        return _Work(queries, [passages[i] for i in windows[chosen].tolist()], position[inverse], starts)

    def _passages(self, rows: Rows) -> tuple[list[Passage], list[NDArray[np.int64]]]:
        """Return the distinct passages of rows, and which of them each row is made of."""
        titles, bodies = self._documents.titles(rows), self._documents.bodies(rows)
        if self._windows is None:
            cut = [[body] for body in bodies]
        else:
            scorer = self.scorer
            assert isinstance(scorer, Tokenized)  # noqa: S101 - checked when it was loaded
            cut = self._windows.cut(bodies, scorer.tokenizer)
            if self.options.pool == "first":
                cut = [part[:1] for part in cut]
        known: dict[Passage, int] = {}
        parts = [
            np.array([known.setdefault(Passage(title, text), len(known)) for text in part], np.int64)
            for title, part in zip(titles, cut, strict=True)
        ]
        return list(known), parts

    # -- scores ----------------------------------------------------------------------------------------------------

    def _distinct_scores(self, work: _Work, listener: Listener, limit: float | None) -> Scores:
        """Return a score a distinct pair, not a number where there is none."""
        scorer, total = self.scorer, len(work.queries)
        scores = np.full(total, np.nan)
        listener(Started(self.name, total, "pairs"))
        keys = pair_keys(scorer.identity.fingerprint, work.queries, work.passages) if self._cache is not None else []
        if self._cache is not None:
            known = self._cache.get(keys)
            scores[:] = [known.get(key, np.nan) for key in keys]
        wanted = np.flatnonzero(np.isnan(scores))
        self.usage.cached += total - len(wanted)
        if total > len(wanted):
            listener(Advanced(self.name, total - len(wanted)))
        chunks = Chunks(len(wanted), self._clock, limit)
        while chunks.more():
            chosen = wanted[chunks.span]
            scores[chosen] = self._chunk(work, chosen, lambda count: listener(Advanced(self.name, count)))
            if self._cache is not None:
                good = chosen[~np.isnan(scores[chosen])].tolist()
                self._cache.put({keys[i]: float(scores[i]) for i in good})
        self.usage.late += len(wanted) - chunks.done
        self.usage.model_seconds += chunks.seconds
        listener(Finished(self.name))
        return scores

    def _chunk(self, work: _Work, chosen: NDArray[np.int64], tick: Tick) -> NDArray[np.float64]:
        places = chosen.tolist()
        found = self.scorer.score_pairs(
            [work.queries[i] for i in places], [work.passages[i] for i in places], tick=tick
        )
        scores = np.where(np.isfinite(found.scores), found.scores, np.nan).astype(np.float64)
        failed = int(np.isnan(scores).sum())
        self.usage.scored += len(places) - failed
        self.usage.failed += failed
        self.usage.truncated += found.truncated
        return scores


class Chunks:
    """How much is scored at a time: what takes a while, and under a deadline ever less towards its end.

    Args:
        total: pairs.
        clock: tells the time.
        limit: when all must be done; None: whenever.
    """

    def __init__(self, total: int, clock: Clock, limit: float | None) -> None:
        self._total, self._clock, self._limit = total, clock, limit
        self.done, self.seconds = 0, 0.0
        self.span = slice(0, 0)
        self._begun: float | None = None

    def more(self) -> bool:
        """Say that the last chunk is done, and set `span` to the next; False if there is none, or no time for one."""
        now = self._clock()
        if self._begun is not None:
            self.seconds += now - self._begun
            self.done = self.span.stop
        size = FIRST_CHUNK if self._limit is None else FIRST_CHUNK_OF_DEADLINE
        left = CHUNK_SECONDS if self._limit is None else (self._limit - now) / 2
        if self.done and self.seconds > 0:
            size = int(min(max(left * self.done / self.seconds, 1 if self._limit is not None else size), CHUNK))
        if self.done >= self._total or (self._limit is not None and now + self._one() > self._limit):
            return False
        self.span, self._begun = slice(self.done, min(self.done + size, self._total)), now
        return True

    def _one(self) -> float:
        return self.seconds / self.done if self.done else 0.0


def _numbers(texts: Sequence[str]) -> NDArray[np.int64]:
    """Number texts in the order of their first appearance; equal texts alike."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(text, len(known)) for text in texts], np.int64)


def reorder(rows: Rows, old: Scores, new: Scores) -> tuple[Rows, Scores]:
    """Return one list by its new scores; what has none follows in its old order, each at its old distance from the one before."""
    missing = np.isnan(new)
    if missing.all():
        return rows, old
    scored = np.flatnonzero(~missing)
    order = scored[tie_order(new[scored], rows[scored])]
    if not missing.any():
        return rows[order], new[order]
    rest = np.flatnonzero(missing)
    lowest = new[order[-1]]
    below = np.minimum(lowest + old[rest] - old[rest[0]], np.nextafter(lowest, -np.inf))
    return np.concatenate([rows[order], rows[rest]]), np.concatenate([new[order], below])
