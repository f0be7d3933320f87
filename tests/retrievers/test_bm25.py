"""BM25: values worked out by hand, plain text that never fails, the query language, re-scoring, options."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tamis
from tamis.errors import SpaceMismatchError, UnknownNameError, UsageError
from tamis.families import open_model
from tamis.ranking import Queries, Ranking

FORMS = [
    "bm25",
    "bm25?k1=0&b=1",
    "bm25?ties=docid",
    "bm25?prf=rm3",
    "bm25?prf=rm3&fb_docs=3&fb_terms=5&original_weight=0.9",
    "bm25?prf=rocchio",
    "bm25?prf=rocchio&gamma=0.15&fb_depth=30",
]


def scores(index: tamis.Index, query: str, pipeline: str = "bm25") -> dict[str, float]:
    return {hit.id: hit.score for hit in index.search(query, k=100, pipeline=pipeline)}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("information retrieval", {"d1": 0.571511, "d2": 0.232675, "d3": 0.264047}),
        ("information information", {"d1": 0.648281, "d3": 0.528094}),
        ("Information", {}),
    ],
)
def test_hand_computed_scores(toy: tamis.Index, query: str, expected: dict[str, float]) -> None:
    assert scores(toy, query) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75), (0.0, 0.5), (2.0, 0.0), (0.5, 1.0)])
def test_k1_and_b(toy: tamis.Index, k1: float, b: float) -> None:
    """The formula in its plain form: lengths are 3, 4 and 2, their mean is 3; "information" is in 2 of 3 documents."""
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    expected = {
        doc: idf * tf / (tf + k1 * (1 - b + b * length / 3)) for doc, tf, length in (("d1", 2, 3), ("d3", 1, 2))
    }
    assert scores(toy, "information", f"bm25?k1={k1}&b={b}") == pytest.approx(expected, rel=1e-6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), max_size=80))
def test_plain_text_never_fails(english: tamis.Index, text: str) -> None:
    """Any characters at all, lone surrogates included."""
    for pipeline in ("bm25", "bm25?prf=rm3", "bm25?prf=rocchio", "ql"):
        for hit in english.search(text, k=5, pipeline=pipeline):
            assert math.isfinite(hit.score)


@pytest.mark.parametrize("pipeline", FORMS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "AND OR NOT",
        "sieve AND (drum",
        "title:drum",
        'sieve ^100 *rum dr?m /[/ "open ~ {a TO b]',
        "a\\",
        "🥣 😀👩‍👩‍👧 sieve",
        "\x00\x01\x1f\x7f sieve \u202e\ufeff\u0000",
        "\ud800 sieve \udfff",
        "the of and",
        "sieve " * 10_000,
        " ".join(f"other{i}" for i in range(10_000)),
        "x" * 100_000,
    ],
)
def test_texts_that_look_like_trouble(english: tamis.Index, text: str, pipeline: str) -> None:
    hits = english.search(text, k=5, pipeline=pipeline)
    assert bool(hits) == ("sieve " in text or " sieve" in text)


def test_a_deleted_document_is_never_found(english: tamis.Index) -> None:
    for pipeline in FORMS:
        found = scores(english, "sieve drum cook purée index query archive library engine tamis", pipeline)
        assert len(found) == 37
        assert not {"d3", "d30", "d31"} & found.keys()


# -- the query language ------------------------------------------------------------------------------------------------


def test_lucene_syntax(english: tamis.Index) -> None:
    def found(query: str) -> set[str]:
        return set(scores(english, query, "bm25?syntax=lucene"))

    both = found("+sieve +drum")
    assert both == found("sieve") & found("drum")
    assert found("sieve -drum") == found("sieve") - found("drum")
    assert found("siev*") >= found("sieve")
    assert 0 < len(found('"the sieve"')) <= len(found("sieve"))
    assert len(found("*:*")) == 37


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("sieve AND", "Encountered"),
        ("(sieve", "Encountered"),
        ('"sieve', "Lexical error"),
        ("*ieve", "not allowed as first character"),
        ("/[/", "unexpected end-of-string"),
        ("/(a|b){1000}{1000}/", "would require more than"),
        ("sieve^", "Encountered"),
    ],
)
def test_a_query_that_does_not_parse_is_a_usage_error(english: tamis.Index, query: str, reason: str) -> None:
    with pytest.raises(UsageError, match="is not in Lucene's query syntax") as caught:
        english.search(query, pipeline="bm25?syntax=lucene")
    assert repr(query) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_feedback_needs_plain_text(english: tamis.Index) -> None:
    with pytest.raises(UsageError, match="syntax=lucene and prf= exclude each other"):
        english.search("sieve", pipeline="bm25?syntax=lucene&prf=rm3")


# -- re-scoring --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [*FORMS, "ql", "ql?mu=10&prf=rm3"])
def test_rescoring_gives_what_retrieving_gives(english: tamis.Index, model: str) -> None:
    queries = Queries.of({"1": "sieve drum", "2": "library of number3 engines", "3": "zeppelin"})
    stage = open_model(english, model)
    retrieved = stage.retrieve(queries, 1000)
    rows = np.arange(25, dtype=np.int64)
    rows = rows[english.documents.rows([f"d{i}" for i in range(25)]) >= 0]
    given_rows = Ranking.from_lists(english.documents, queries.ids, [(rows[::-1], np.ones(len(rows)))] * 3)
    rescored = stage.rescore(queries, given_rows)
    for position in range(3):
        known = dict(zip(*(column.tolist() for column in retrieved.at(position)), strict=True))
        found_rows, found_scores = rescored.at(position)
        assert sorted(found_rows.tolist()) == rows.tolist()
        assert found_scores.tolist() == pytest.approx([known.get(r, 0.0) for r in found_rows.tolist()], rel=1e-6)
        assert (np.diff(found_scores) <= 0).all()
    assert len(retrieved.at(0)[0]) > 10
    assert rescored.at(2)[1].tolist() == [0.0] * len(rows)  # nothing matches: the lower row stands first
    assert rescored.at(2)[0].tolist() == rows.tolist()


def test_rescoring_an_empty_list(english: tamis.Index) -> None:
    queries = Queries.of("sieve")
    empty = Ranking.from_lists(english.documents, queries.ids, [([], [])])
    assert len(open_model(english, "bm25").rescore(queries, empty).rows) == 0


def test_rankings_of_another_index_are_refused(english: tamis.Index, toy: tamis.Index) -> None:
    ranking = toy.rank("information")
    with pytest.raises(SpaceMismatchError, match="rows would mean other documents"):
        open_model(english, "bm25").rescore(Queries.of("information"), ranking)


def test_terms_of_a_query_stage_are_searched_as_given(english: tamis.Index) -> None:
    stage = open_model(english, "bm25")
    plain = stage.retrieve(Queries.of("drum drum sieve"), 100)
    weighted = stage.retrieve(Queries(("1",), ("ignored",), terms=({"drum": 2.0, "siev": 1.0},)), 100)
    assert weighted.rows.tolist() == plain.rows.tolist()
    assert weighted.scores == pytest.approx(plain.scores, rel=1e-6)


def test_expanded_terms_of_a_plain_query(english: tamis.Index) -> None:
    terms = open_model(english, "bm25").expanded_terms("The sieves, the drum and a sieve")
    assert terms == {"siev": 2.0, "drum": 1.0}
    # every word of this small collection is in more than a tenth of it: feedback has nothing to add
    assert open_model(english, "bm25?prf=rm3").expanded_terms("sieves") == {"siev": 0.5}


# -- ties --------------------------------------------------------------------------------------------------------------


def test_ties(tmp_path_factory: pytest.TempPathFactory) -> None:
    ids = ["b", "a10", "a9", "é", "Z", "c"]
    with tamis.Index.create(tmp_path_factory.mktemp("ties") / "index") as index:
        index.add([{"id": doc_id, "text": "same text"} for doc_id in ids])
        index.add([{"id": "better", "text": "same same text"}])
        for k in (100, 3):
            row = [hit.id for hit in index.search("same", k=k)]
            docid = [hit.id for hit in index.search("same", k=k, pipeline="bm25?ties=docid")]
            assert row == ["better", *ids][:k]
            assert docid == ["better", "Z", "a10", "a9", "b", "c", "é"][:k]


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("bm25?k1=-1", UsageError, "bm25?k1=-1: must be at least 0"),
        ("bm25?b=1.5", UsageError, "bm25?b=1.5: must be at most 1"),
        ("bm25?k1=big", UsageError, "bm25?k1: 'big' is not a number"),
        ("bm25?k1=nan", UsageError, "bm25?k1=nan: must be a finite number"),
        ("bm25?k1=inf", UsageError, "bm25?k1=inf: must be a finite number"),
        ("bm25?k1=1e39", UsageError, "bm25?k1=1e39: must be at most 3.4e+38"),
        ("bm25?ties=id", UnknownNameError, "did you mean 'docid'"),
        ("bm25?syntax=sql", UnknownNameError, "valid: lucene, text"),
        ("bm25?prf=rm4", UnknownNameError, "did you mean 'rm3'"),
        ("bm25?prf=rm3&fb_docs=0", UsageError, "bm25?fb_docs=0: must be at least 1"),
        ("bm25?prf=rm3&fb_docs=2.5", UsageError, "'2.5' is not a whole number"),
        ("bm25?prf=rm3&original_weight=1.1", UsageError, "must be at most 1"),
        ("bm25?prf=rocchio&gamma=0.1&fb_depth=5", UsageError, "fb_depth=5 is below fb_docs=10"),
        ("bm25?mu=10", UnknownNameError, "unknown option of bm25 'mu'"),
        ("bm25?fields=titel", UnknownNameError, "unknown index field 'titel'"),
        ("bm25?fields=^2", UsageError, "a field name is expected"),
        ("bm25?fields=contents^0", UsageError, "must be a number above 0"),
    ],
)
def test_wrong_options_are_named(english: tamis.Index, address: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        open_model(english, address).retrieve(Queries.of("sieve"), 5)
    assert message in str(caught.value)
