"""Which engine answers."""

from __future__ import annotations

import pytest

import tamis
from tamis.errors import MissingResourceError, TamisError, UsageError
from tamis.families import open_model
from tamis.retrievers.lucene import LuceneRetriever
from tamis.retrievers.terms import TermRetriever


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("bm25", TermRetriever),
        ("bm25?engine=auto", TermRetriever),
        ("bm25:terms", TermRetriever),
        ("ql?engine=kernel", TermRetriever),
        ("bm25?engine=lucene", LuceneRetriever),
        ("bm25?syntax=lucene", LuceneRetriever),
        ("ql:lucene", LuceneRetriever),
    ],
)
def test_who_answers(toy: tamis.Index, address: str, kind: type) -> None:
    assert type(open_model(toy, address)) is kind


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("bm25?engine=kernel&syntax=lucene", UsageError, "syntax=lucene needs engine=lucene"),
        ("bm25:terms?engine=lucene", UsageError, "part 'terms' is of kind 'impact'"),
        ("bm25:lucene?engine=kernel", UsageError, "part 'lucene' is of kind 'lucene'"),
        ("bm25:terms?syntax=lucene", UsageError, "of kind 'lucene'"),
        ("bm25:nosuch", MissingResourceError, "has no part 'nosuch': it holds lucene, terms"),
        ("bm25?engine=tantivy", TamisError, "valid: auto, kernel, lucene"),
        ("bm25?deadline=0", UsageError, "must be above 0"),
    ],
)
def test_what_cannot_be(toy: tamis.Index, address: str, error: type[TamisError], message: str) -> None:
    with pytest.raises(error) as caught:
        open_model(toy, address)
    assert message in str(caught.value)


def test_a_bare_lucene_index_has_no_kernel(toy: tamis.Index) -> None:
    with tamis.open(toy.path / "lucene") as bare:
        assert type(open_model(bare, "bm25")) is LuceneRetriever
        with pytest.raises(MissingResourceError, match="its only part is 'lucene'"):
            open_model(bare, "bm25?engine=kernel")
