"""Lexical quality models: golden values, and the collection's distance against a plain computation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from tamis.encoders.base import Passage
from tamis.errors import UnknownNameError, UsageError
from tamis.pruning.cdd import Cdd, CddStatistic
from tamis.pruning.registry import open_quality, quality_families, quality_options
from tamis.pruning.words import words_of


def passages(*texts: str) -> list[Passage]:
    return [Passage("", text) for text in texts]


def test_words() -> None:
    assert words_of("It's 3 Ünïted_States' (dogs)!") == ["it", "s", "3", "ünïted", "states", "dogs"]


def test_itn_golden() -> None:
    model = open_quality("itn")
    assert model.score_passages(passages("the cat sat on the mat the end", "", "!?", "Cat cat")).tolist() == [
        0.75,
        0,
        0,
        0.5,
    ]


def test_length_and_stop_words() -> None:
    given = [Passage("A title", "of the cat"), *passages("cat", "--")]
    assert open_quality("length").score_passages(given).tolist() == [5, 1, 0]
    assert open_quality("stopwords").score_passages(given).tolist() == pytest.approx([3 / 5, 0, 0])


def test_cdd_golden() -> None:
    """Spec 12, G20: C = {the .5, cat .3, dog .2}, d = {the 1/3, cat 2/3}, smoothing .8."""
    collection = passages("the the the the the cat cat cat dog dog")
    model = Cdd(open_quality("cdd").identity, 0.8)
    collected = CddStatistic().collect([model.note(texts_of(collection))], model.settings())
    (quality,) = CddStatistic().score(model.note(texts_of(passages("cat the cat"))), collected)
    assert -quality == pytest.approx(0.272373, abs=5e-7)
    (quality,) = CddStatistic().score(model.note(texts_of(collection)), collected)
    assert quality == pytest.approx(0, abs=1e-7)  # the collection itself is at no distance


def texts_of(given: Sequence[Passage]) -> Any:
    return SimpleNamespace(passages=given)


@over(
    st.lists(st.lists(st.sampled_from("abcdefg"), max_size=12), min_size=1, max_size=8),
    st.floats(0.05, 0.95),
    st.integers(0, 8),
)
def test_cdd_is_the_divergence(documents: list[list[str]], weight: float, cut: int) -> None:
    """Against the sum over the whole vocabulary, for documents that the statistic saw and for one that it did not."""
    model = Cdd(open_quality("cdd").identity, weight)
    given = passages(*(" ".join(words) for words in documents), "a z a")
    notes = [model.note(texts_of(some)) for some in (given[:-1][:cut], given[:-1][cut:])]
    found = CddStatistic().score(model.note(texts_of(given)), CddStatistic().collect(notes, model.settings()))
    total = Counter(word for words in documents for word in words)
    size = max(sum(total.values()), 1)
    for words, quality in zip([*documents, ["a", "z", "a"]], found.tolist(), strict=True):
        want = 0.0
        for word, count in total.items():
            p = count / size
            own = words.count(word) / len(words) if words else 0.0
            want += p * math.log(p / (weight * own + (1 - weight) * p))
        if total:
            assert -quality == pytest.approx(want, abs=1e-5)


def test_random_knows_the_id_and_the_seed_alone(given: Callable[[Sequence[str]], Any]) -> None:
    model = open_quality("random?seed=1")
    whole = model.score_rows(given([""] * 4000))
    assert model.score_rows(given(["x"] * 10)).tolist() == whole[:10].tolist()
    assert open_quality("random?seed=2").score_rows(given([""] * 10)).tolist() != whole[:10].tolist()
    assert (whole >= 0).all()
    assert (whole < 1).all()
    assert np.histogram(whole, 4, (0, 1))[0] == pytest.approx(np.full(4, 1000), abs=120)


def test_registry() -> None:
    assert {"cdd", "itn", "length", "magnitude", "qualt5", "random"} <= set(quality_families())
    for family in quality_families():
        assert quality_options(family).__doc__
    with pytest.raises(UnknownNameError, match="quality model 'itm': did you mean 'itn'"):
        open_quality("itm")
    with pytest.raises(UnknownNameError, match="option of random 'sed'"):
        open_quality("random?sed=1")
    with pytest.raises(UsageError, match="above 0"):
        open_quality("cdd?smoothing=0")
