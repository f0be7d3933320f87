"""The kernel's answers are Lucene's: rows, order and scores, to the last bit."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tamis
from tamis.errors import UsageError
from tamis.families import open_model
from tamis.ranking import Queries
from tamis.retrievers.lucene import LuceneRetriever
from tamis.retrievers.terms import TermRetriever

MODELS = [
    "bm25",
    "bm25?k1=1.2&b=0.75",
    "bm25?k1=0",
    "bm25?b=0",
    "bm25?b=1",
    "ql",
    "ql?mu=50",
    "bm25?fields=title",
    "bm25?fields=title^2.5,body",
    "ql?fields=title^0.3,body^0.7,contents",
    "bm25?prf=rm3&fb_docs=3",
    "ql?prf=rm3&fb_terms=5&original_weight=0.3",
    "bm25?prf=rocchio",
    "bm25?prf=rocchio&gamma=0.15&fb_depth=20",
    "bm25?prf=rm3&fields=title^2,body",
]
TEXTS = [
    "drum sieve",
    "sieve",
    "the sieves of cooks, the drums of tamis and tamis",
    "number1 number2 number3 number4 number0 archive library engine query index",
    "purée PURÉE purées",
    "nothing here matches zeppelin",
    "",
    "of the",
]


@pytest.fixture(scope="module")
def fields_index(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two commits with deletions between, titles and bodies apart; rows and positions are the same."""
    nouns = ["sieve", "drum", "cook", "purée", "index", "query", "archive", "library", "engine", "tamis"]
    documents = [
        {
            "id": f"d{i * 7 % 90}",
            "title": f"The {nouns[i % 10]} {nouns[i % 3]}" if i % 4 else "",
            "text": " ".join(
                f"{nouns[(i * j) % 10]} {nouns[(i + j * j) % 7]} number{i % 5}" for j in range(1, 2 + i % 6)
            ),
        }
        for i in range(90)
    ]
    with tamis.Index.create(tmp_path_factory.mktemp("fields") / "index", fields="title^2,body", threads=2) as index:
        index.add(documents[:60])
        index.delete(["d3", "d30", "d31"])
        index.add(documents[60:])
        yield index


def both(index: tamis.Index, model: str, queries: Any, k: int) -> tuple[tamis.Ranking, tamis.Ranking]:
    joined = "&" if "?" in model else "?"
    return tuple(
        index.rank(queries, k, pipeline=f'"{model}{joined}engine={engine}"') for engine in ("kernel", "lucene")
    )  # type: ignore[return-value]


def assert_same(ours: tamis.Ranking, theirs: tamis.Ranking) -> None:
    assert ours.offsets.tolist() == theirs.offsets.tolist()
    assert ours.rows.tolist() == theirs.rows.tolist()
    assert ours.scores.tobytes() == theirs.scores.tobytes()


@pytest.mark.parametrize("ties", ["row", "docid"])
@pytest.mark.parametrize("model", MODELS)
def test_as_lucene(fields_index: tamis.Index, model: str, ties: str) -> None:
    queries = dict(enumerate(TEXTS))
    model = f"{model}{'&' if '?' in model else '?'}ties={ties}"
    for k in (1, 5, 1000):
        ours, theirs = both(fields_index, model, {str(i): text for i, text in queries.items()}, k)
        assert_same(ours, theirs)
    assert len(ours.rows) > 100


def test_as_lucene_after_compaction(fields_index: tamis.Index, tmp_path: Path) -> None:
    """Rows and positions differ then, and statistics forget the deleted."""
    with tamis.Index.create(tmp_path / "index", threads=2) as index:
        index.add({"id": str(i), "text": f"drum {'sieve ' * (i % 4)} cook{i % 3}"} for i in range(50))
        index.delete([str(i) for i in range(0, 50, 7)])
        index.compact()
        index.add({"id": str(i), "text": "a drum of cook1"} for i in range(45, 60))
        for model in ("bm25", "ql", "bm25?prf=rm3"):
            assert_same(
                *both(index, model, ["drum cook1", "sieve cook2", "cook0"] and {"a": "drum cook1", "b": "sieve"}, 40)
            )


words = st.lists(st.sampled_from("sieve drum cook tamis index query of the cooks drums".split()), max_size=12)  # noqa: SIM905


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    corpus=st.lists(words, min_size=1, max_size=40),
    deleted=st.sets(st.integers(0, 39), max_size=8),
    queries=st.lists(words, min_size=1, max_size=5),
    k=st.integers(1, 50),
)
def test_any_small_corpus_as_lucene(
    corpus: list[list[str]], deleted: set[int], queries: list[list[str]], k: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, tamis.Index.create(Path(folder) / "index") as index:
        index.add({"id": str(i), "text": " ".join(text)} for i, text in enumerate(corpus))
        index.delete([str(i) for i in deleted])
        asked = {str(i): " ".join(text) for i, text in enumerate(queries)}
        for model in ("bm25", "ql?mu=20", "bm25?ties=docid", "bm25?prf=rocchio"):
            assert_same(*both(index, model, asked, k))


@pytest.mark.parametrize("model", ["bm25", "ql", "bm25?fields=title^2,body"])
def test_rescoring_as_lucene(fields_index: tamis.Index, model: str) -> None:
    queries = Queries.of({"a": "drum sieve", "b": "zeppelin", "c": "tamis cook library"})
    candidates = fields_index.rank({"a": "number1", "b": "sieve", "c": "drum archive"}, 30)
    engines = [
        open_model(fields_index, f"{model}{'&' if '?' in model else '?'}engine={e}") for e in ("kernel", "lucene")
    ]
    assert isinstance(engines[0], TermRetriever)
    assert isinstance(engines[1], LuceneRetriever)
    assert_same(*(engine.rescore(queries, candidates) for engine in engines))


def test_a_row_filter(fields_index: tamis.Index) -> None:
    stage = open_model(fields_index, "bm25")
    queries = Queries.of({"a": "drum sieve", "b": "cook"})
    every = stage.retrieve(queries, 1000)
    mask = np.zeros(fields_index.documents.row_limit, np.bool_)
    mask[::3] = True
    found = stage.retrieve(queries, 1000, mask=mask)
    for i in range(2):
        rows, scores = every.at(i)
        assert found.at(i)[0].tolist() == rows[rows % 3 == 0].tolist()
        assert found.at(i)[1].tolist() == scores[rows % 3 == 0].tolist()
    assert 0 < len(found.rows) < len(every.rows)
    deleted = fields_index.documents.rows_at(np.flatnonzero(~fields_index.documents.live))
    assert not np.isin(found.rows, deleted).any()


def test_a_row_filter_is_refused_by_lucene(fields_index: tamis.Index) -> None:
    with pytest.raises(UsageError, match="Lucene cannot be given a row filter"):
        open_model(fields_index, "bm25?engine=lucene").retrieve(Queries.of("sieve"), 5, mask=np.ones(90, np.bool_))


def test_a_deadline_that_has_passed_marks_the_ranking(fields_index: tamis.Index) -> None:
    ranking = fields_index.rank("drum sieve", 10, pipeline="bm25?deadline=1e-12")
    assert ranking.partial.tolist() == [True]
    assert fields_index.rank("drum sieve", 10, pipeline="bm25?deadline=60").partial.tolist() == [False]
    with pytest.raises(UsageError, match="needs the kernel"):
        fields_index.rank("drum", pipeline="bm25?deadline=1&engine=lucene")


def test_weighted_terms_of_a_query_stage(fields_index: tamis.Index) -> None:
    queries = Queries(("1", "2"), ("ignored", "too"), terms=({"drum": 2.5, "siev": 0.1, "nosuch": 3.0}, {}))
    ours, theirs = (
        open_model(fields_index, f"bm25?engine={engine}").retrieve(queries, 100) for engine in ("kernel", "lucene")
    )
    assert_same(ours, theirs)
    assert len(ours.at(1)[0]) == 0


def test_expanded_terms_as_lucene(fields_index: tamis.Index) -> None:
    for model in ("bm25?prf=rm3", "bm25?prf=rocchio", "bm25"):
        joined = "&" if "?" in model else "?"
        ours, theirs = (
            open_model(fields_index, f"{model}{joined}engine={e}").expanded_terms("drum number1")
            for e in ("kernel", "lucene")
        )
        assert ours == theirs
        assert list(ours) == list(theirs)


def test_no_java_is_started(fields_index: tamis.Index) -> None:
    program = (
        "import sys, tamis\n"
        f"index = tamis.open({str(fields_index.path)!r})\n"
        "for model in ('bm25', 'ql', 'bm25?prf=rm3', 'bm25?prf=rocchio', 'bm25 >> ql', 'rrf(bm25, ql)'):\n"
        "    assert index.search('drum sieve', pipeline=model), model\n"
        "print('jpype' in sys.modules, 'torch' in sys.modules, 'pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


def test_a_forked_child_searches(fields_index: tamis.Index) -> None:
    """Java does not survive a fork; the kernel needs none."""
    expected = [(hit.id, hit.score) for hit in fields_index.search("drum")]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(
        target=lambda: answers.put([(h.id, h.score) for h in tamis.open(fields_index.path).search("drum")])
    )
    child.start()
    assert answers.get(timeout=30) == expected
    child.join(30)


def test_threads_and_batches_do_not_change_results(fields_index: tamis.Index) -> None:
    queries = {str(i): text for i, text in enumerate(TEXTS * 5)}
    with tamis.open(fields_index.path, threads=1) as alone:
        assert_same(alone.rank(queries, 20), fields_index.rank(queries, 20))
        single = [alone.rank({i: text}, 20) for i, text in queries.items()]
    together = fields_index.rank(queries, 20)
    for i, ranking in enumerate(single):
        assert ranking.at(0)[0].tolist() == together.at(i)[0].tolist()
        assert ranking.at(0)[1].tobytes() == together.at(i)[1].tobytes()
