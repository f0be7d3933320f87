"""``duot5``: T5 asked whether the first of two documents is the more relevant to a query.

Pradeep et al., "The Expando-Mono-Duo Design Pattern for Text Ranking with Pretrained Sequence-to-Sequence Models", 2021. Every
two of a query's first candidates are compared, in both orders, and `tamis.rerankers.aggregation` makes a score of each. That is
quadratic: 2,450 prompts a query for 50. The rest of a list follows below in its old order. Two documents share what room the
prompt leaves them, the longer one cut first.

Comparisons are kept in the cache of pairs, whatever is made of them. Under a deadline those among the best candidates go first;
of a query of which it lets not all be made, as many candidates from the top are ordered as are all compared with each other.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Numerics
from tamis.families import Address
from tamis.rerankers.aggregation import ONE_ORDER, aggregate, log_sigmoid, terms
from tamis.rerankers.cache import PairCache, default_cache, pair_keys
from tamis.rerankers.lists import CandidateList, ListScores
from tamis.rerankers.options import DuoOptions, T5Options
from tamis.rerankers.stage import Chunks
from tamis.rerankers.t5 import T5Scorer, load_ranker
from tamis.rerankers.t5_network import T5
from tamis.rerankers.templates import Template
from tamis.stages import Evidence

TEMPLATE = "Query: {query} Document0: {document0} Document1: {document1} Relevant:"

LISTS_AT_ONCE = 32
"""Lists whose comparisons are made together: enough for batches of equal lengths. Under a deadline all are."""

Comparison = tuple[str, str, str]
"""A query, and the joined texts of the documents that stand first and second."""


class DuoT5(T5Scorer):
    """A `tamis.rerankers.lists.ListScorer`.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        network: with the rows of the negative and the positive word.
        template: how prompts are written.
    """

    def __init__(self, identity: ModelIdentity, numerics: Numerics, network: T5, template: Template) -> None:
        super().__init__(identity, numerics, network, template)
        self.options = DuoOptions()
        self.cache: PairCache | None = None

    def adjust(self, options: DuoOptions) -> None:
        """Take search options; see `tamis.rerankers.lists.Adjustable`."""
        self.options = options
        self.cache = default_cache() if options.cache else None
        if options.batch_tokens is not None:
            self.numerics = replace(self.numerics, tokens=options.batch_tokens)

    def compare(
        self,
        comparisons: Sequence[Comparison],
        *,
        tick: Tick = no_tick,
        until: float | None = None,
        counts: Counter[str] | None = None,
    ) -> NDArray[np.float64]:
        """Return the log-odds that the first document of each comparison is the more relevant.

        Args:
            comparisons: those that matter most first.
            tick: hears how many more are done.
            until: when to stop, by ``time.monotonic``; None: whenever.
            counts: to which what it cost is added.

        Returns:
            float64 [comparisons], not a number where there was no time.

        Raises:
            ModelError: the model gave numbers that are not finite.
            StorageError: the cache cannot be used.
        """
        number: dict[Comparison, int] = {}
        places = np.array([number.setdefault(one, len(number)) for one in comparisons], np.int64)
        distinct, repeats = list(number), np.bincount(places)
        found = np.full(len(distinct), np.nan)
        keys: list[bytes] = []
        if self.cache is not None:
            documents = [Passage(first, second) for _, first, second in distinct]
            keys = pair_keys(self.identity.fingerprint, [query for query, _, _ in distinct], documents)
            known = self.cache.get(keys)
            found[:] = [known.get(key, np.nan) for key in keys]
        wanted = np.flatnonzero(np.isnan(found))
        tick(int(repeats[~np.isnan(found)].sum()))
        read, truncated = self.tokens, 0
        chunks = Chunks(len(wanted), time.monotonic, until)
        while chunks.more():
            chosen = wanted[chunks.span]
            query, first, second = zip(*(distinct[i] for i in chosen.tolist()), strict=True)
            inputs = self.template.inputs({"query": query, "document0": first, "document1": second})
            found[chosen] = self.log_odds(inputs, tick)
            truncated += inputs.truncated
            tick(int(repeats[chosen].sum()) - len(chosen))
            if self.cache is not None:
                self.cache.put({keys[i]: float(found[i]) for i in chosen.tolist()})
        if counts is not None:
            counts.update(
                pairs=len(comparisons),
                distinct=len(distinct),
                cached=len(distinct) - len(wanted),
                scored=chunks.done,
                late=len(wanted) - chunks.done,
                truncated=truncated,
                tokens=self.tokens - read,
            )
        return found[places]

    def score_lists(
        self, lists: Sequence[CandidateList], *, tick: Tick = no_tick, until: float | None = None
    ) -> ListScores:
        """Score the candidates of each list; see `tamis.rerankers.lists.ListScorer`."""
        counts: Counter[str] = Counter()
        scores: list[NDArray[np.float64]] = []
        step = LISTS_AT_ONCE if until is None else max(len(lists), 1)
        for first in range(0, len(lists), step):
            part = lists[first : first + step]
            for candidates, log_odds in zip(part, self._tables(part, tick, until, counts), strict=True):
                scores.append(_scores(candidates, log_odds, self.options))
        return ListScores(scores, counts)

    def explain_list(self, candidates: CandidateList) -> list[Evidence]:
        """Return what comparisons with all other candidates add, and which are won; see `tamis.rerankers.lists.ListExplainer`."""
        (log_odds,) = self._tables([candidates], no_tick, None, Counter())
        count, name = len(log_odds), self.options.aggregation
        scores, added, p = aggregate(log_odds, name), terms(log_odds, name), np.exp(log_sigmoid(log_odds))
        texts = [passage.joined for passage in candidates.passages]
        found = []
        for i in range(count):
            children, won, lost = [], list[str](), list[str]()
            for j in range(count):
                asked = {"first": p[i, j], "second": 1 - p[j, i]}  # P(i is the better), by where it stands
                if j != i:
                    known = {place: float(x) for place, x in asked.items() if not np.isnan(x)}
                    text = texts[j] if len(texts[j]) <= 60 else f"{texts[j][:59]}…"
                    children.append(Evidence(f"{j + 1}. {text}", float(added[i, j]), {"rank": j + 1} | known))
                    if known:
                        (won if sum(known.values()) > len(known) / 2 else lost).append(str(j + 1))
            notes = [
                f"{said} {', '.join(ranks)}"
                for said, ranks in (("better than", won), ("not better than", lost))
                if ranks
            ]
            found.append(
                Evidence(f"{name} over {count - 1} others", float(scores[i]), {}, tuple(children), tuple(notes))
            )
        rest = Evidence(f"not compared: not among the first {count}")
        return found + [rest] * (len(texts) - count)

    def _tables(
        self, lists: Sequence[CandidateList], tick: Tick, until: float | None, counts: Counter[str]
    ) -> list[NDArray[np.float64]]:
        """Return the log-odds of every list's first candidates against each other, not a number where there was no time."""
        sizes = [min(len(one.passages), self.options.compared) for one in lists]
        work = [
            (max(i, j), number, i, j)
            for number, size in enumerate(sizes)
            for i, j in permutations(range(size), 2)
            if i < j or self.options.aggregation != ONE_ORDER
        ]
        work.sort()
        texts = [[passage.joined for passage in one.passages[:size]] for one, size in zip(lists, sizes, strict=True)]
        comparisons = [(lists[number].query, texts[number][i], texts[number][j]) for _, number, i, j in work]
        candidates = sum(len(one.passages) for one in lists)
        found = self.compare(comparisons, tick=_scaled(tick, len(work), candidates), until=until, counts=counts)
        if not work:
            tick(candidates)
        tables = [np.full((size, size), np.nan) for size in sizes]
        for (_, number, i, j), value in zip(work, found.tolist(), strict=True):
            tables[number][i, j] = value
        return tables


def load(address: Address, options: T5Options) -> DuoT5:
    """Load a checkpoint; errors as of `tamis.rerankers.t5.load_parts`."""
    return DuoT5(*load_ranker(address, options, TEMPLATE))


def _scores(candidates: CandidateList, log_odds: NDArray[np.float64], options: DuoOptions) -> NDArray[np.float64]:
    """Return the scores of a list: of those compared, and below them of the rest, each at its old distance."""
    size = len(log_odds)
    missing = np.isnan(log_odds) & ~np.eye(size, dtype=bool)
    if options.aggregation == ONE_ORDER:
        missing &= ~np.tri(size, dtype=bool)
    latest = np.maximum.outer(np.arange(size), np.arange(size))
    done = int(latest[missing].min()) if missing.any() else size
    scores = np.full(len(candidates.passages), np.nan)
    if done < 2 <= size:
        return scores
    scores[:done] = aggregate(log_odds[:done, :done], options.aggregation)
    if done == size < len(scores):
        old, lowest = candidates.scores[size:], scores[:size].min()
        scores[size:] = np.minimum(lowest + old - old[0], np.nextafter(lowest, -np.inf))
    return scores


def _scaled(tick: Tick, total: int, candidates: int) -> Callable[[int], None]:
    """Return what hears of comparisons, and tells `tick` of the candidates that are as good as done."""
    done = told = 0

    def heard(count: int) -> None:
        nonlocal done, told
        done += count
        now = candidates * done // total if total else 0
        if now > told:
            tick(now - told)
            told = now

    return heard
