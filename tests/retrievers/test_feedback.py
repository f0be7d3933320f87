"""RM3 and Rocchio on term vectors small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tamis.errors import UsageError
from tamis.retrievers.feedback import FeedbackOptions, expand


class Vectors:
    """A source of given term vectors: 100 documents, every term in five of them unless said otherwise."""

    max_doc = 100

    def __init__(self, *vectors: dict[str, int] | None, common: Sequence[str] = ()) -> None:
        self._vectors, self._common = vectors, common

    def term_vector(self, doc: int, field: str) -> dict[str, int] | None:
        assert field == "contents"
        return self._vectors[doc]

    def document_frequencies(self, field: str, terms: Sequence[str]) -> dict[str, int]:
        return {term: 11 if term in self._common else 10 if term == "edge" else 5 for term in terms}


def run(source: Vectors, tokens: str, scores: list[float], **options: Any) -> dict[str, float]:
    docs = np.arange(len(scores), dtype=np.int32)
    return expand(source, tokens.split(), docs, np.array(scores, np.float32), FeedbackOptions(**options))


def test_rm3() -> None:
    source = Vectors(
        {"xx": 2, "yy": 1, "zz": 1},  # cut to xx, yy: equal counts, the lower term stays; 2/3 and 1/3, times 2
        {"xx": 1, "é1": 9, "a-b": 9, "x": 9, "l" * 21: 9, "common": 9},  # only xx is long, short, plain and rare enough
        common=["common"],
    )
    found = run(source, "aa bb", [2.0, 1.0], method="rm3", docs=10, terms=2)
    # model: xx 4/3 + 1 = 7/3, yy 2/3; normalised 7/9, 2/9
    assert found == pytest.approx({"aa": 0.25, "bb": 0.25, "xx": 7 / 18, "yy": 1 / 9}, rel=1e-6)
    assert list(found) == sorted(found)


def test_rm3_weight_and_repeated_words() -> None:
    source = Vectors({"xx": 3, "aa": 1})
    found = run(source, "aa aa bb", [5.0], method="rm3", terms=5, original_weight=0.8)
    assert found == pytest.approx({"aa": 0.8 * 2 / 3 + 0.2 / 4, "bb": 0.8 / 3, "xx": 0.2 * 3 / 4}, rel=1e-6)


def test_rm3_takes_the_first_documents_only() -> None:
    source = Vectors({"xx": 1}, {"yy": 1})
    assert run(source, "aa", [1.0, 1.0], method="rm3", docs=1) == pytest.approx({"aa": 0.5, "xx": 0.5})


def test_a_tenth_of_the_documents_is_rare_enough() -> None:
    source = Vectors({"edge": 1, "common": 1}, common=["common"])
    assert set(run(source, "aa", [1.0], method="rm3")) == {"aa", "edge"}


def test_nothing_to_learn_from() -> None:
    for method in ("rm3", "rocchio"):
        assert set(run(Vectors(), "aa bb", [], method=method)) == {"aa", "bb"}
        assert set(run(Vectors({}), "aa bb", [1.0], method=method)) == {"aa", "bb"}
        assert set(run(Vectors({"xx": 1}), "", [1.0], method=method)) == {"xx"}


def test_rocchio() -> None:
    source = Vectors({"xx": 3, "yy": 4}, {"xx": 1})  # (.6, .8) and (1, 0): mean (.8, .4), of length sqrt(.8)
    found = run(source, "qq", [9.0, 1.0], method="rocchio", docs=2, terms=2)
    assert found == pytest.approx({"qq": 1.0, "xx": 0.75 * 0.8 / 0.8**0.5, "yy": 0.75 * 0.4 / 0.8**0.5}, rel=1e-6)


def test_rocchio_keeps_terms_of_any_letters() -> None:
    assert set(run(Vectors({"é1": 1, "x": 1}), "qq", [1.0], method="rocchio")) == {"qq", "é1"}


def test_rocchio_subtracts_the_last_documents() -> None:
    source = Vectors({"xx": 3, "yy": 4}, {"nn": 1}, {"yy": 1})
    found = run(source, "qq", [3.0, 2.0, 1.0], method="rocchio", docs=1, alpha=0.5, beta=1.0, gamma=0.5)
    assert found == pytest.approx({"qq": 0.5, "xx": 0.6, "yy": 0.3}, rel=1e-6)
    strong = run(source, "qq", [3.0, 2.0, 1.0], method="rocchio", docs=1, beta=1.0, gamma=1.0)
    assert strong == pytest.approx({"qq": 1.0, "xx": 0.6}, rel=1e-6)  # negative weights go


def test_lengths_count_as_java_counts() -> None:
    """A character outside the basic plane is two units long, so one alone passes the lower limit of two."""
    assert set(run(Vectors({"😀": 1, "é": 1}), "qq", [1.0], method="rocchio")) == {"qq", "😀"}


def test_an_index_without_vectors_is_told() -> None:
    for method in ("rm3", "rocchio"):
        with pytest.raises(UsageError, match="feedback needs term vectors of field 'contents'"):
            run(Vectors(None), "qq", [1.0], method=method)
