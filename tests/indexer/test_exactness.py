"""Exactness on real collections: published effectiveness to the fourth digit, and Anserini's own searcher hit for hit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.indexer.lucene.jvm import java, start

pytestmark = [pytest.mark.real, pytest.mark.slow]

CORPORA = {
    "cacm": ("cacm/corpus.full.jsonl.gz", "cacm/queries.jsonl"),
    "nfcorpus": ("nfcorpus", "nfcorpus"),
    "scifact": ("scifact", "scifact"),
}


@pytest.fixture(scope="session")
def real_index(
    collections: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], tuple[tamis.Index, dict[str, str]]]]:
    """Index and topics of a collection by its name; each is built once."""
    made: dict[str, tuple[tamis.Index, dict[str, str]]] = {}

    def get(name: str) -> tuple[tamis.Index, dict[str, str]]:
        if name not in made:
            corpus, topics = CORPORA[name]
            index = tamis.Index.create(tmp_path_factory.mktemp("real") / name)
            index.add(tamis.open_corpus(collections / corpus))
            queries = tamis.read_topics(collections / topics)
            judged = judgements(collections / name / "qrels" / "test.tsv")
            made[name] = index, {i: text for i, text in zip(queries.ids, queries.texts, strict=True) if i in judged}
        return made[name]

    yield get
    for index, _ in made.values():
        index.close()


def judgements(path: Path) -> dict[str, dict[str, int]]:
    """A BEIR qrels file as nested dictionaries."""
    found: dict[str, dict[str, int]] = {}
    for line in path.read_text("utf-8").splitlines()[1:]:
        query, doc, relevance = line.split("\t")
        found.setdefault(query, {})[doc] = int(relevance)
    return found


def measured(
    collections: Path, index: tamis.Index, topics: dict[str, str], pipeline: str, qrels: str, names: str
) -> Any:
    """Means over all judged queries, by measure name."""
    import ir_measures

    ranking = index.rank(topics, 1000, pipeline=pipeline)
    # strictly decreasing scores, so that the evaluator keeps the ranking's own order
    run = {q: {hit.id: -float(hit.rank) for hit in ranking[q]} for q in ranking.query_ids}
    wanted = [ir_measures.parse_measure(name) for name in names.split()]
    values = ir_measures.calc_aggregate(wanted, judgements(collections / qrels), run)
    return {name: values[measure] for name, measure in zip(names.split(), wanted, strict=True)}


CACM = [
    ("bm25?ties=docid", 0.3123, 0.1942, 0.3241, 0.1981),
    ("bm25?prf=rm3&ties=docid", 0.3648, 0.2224, 0.3750, 0.2269),
    ("ql?ties=docid", 0.3265, 0.1942, 0.3375, 0.1981),
]


@pytest.mark.parametrize(("pipeline", "map_anserini", "p_anserini", "map_corrected", "p_corrected"), CACM)
def test_cacm(
    real_index: Any,
    collections: Path,
    pipeline: str,
    map_anserini: float,
    p_anserini: float,
    map_corrected: float,
    p_corrected: float,
) -> None:
    index, topics = real_index("cacm")
    for qrels, wanted in (("test.anserini", (map_anserini, p_anserini)), ("test", (map_corrected, p_corrected))):
        values = measured(collections, index, topics, pipeline, f"cacm/qrels/{qrels}.tsv", "AP P@30")
        assert tuple(round(value, 4) for value in values.values()) == wanted


@pytest.mark.parametrize(
    ("name", "pipeline", "ndcg", "recall"),
    [
        ("nfcorpus", "bm25?ties=docid", 0.3218, 0.2457),
        ("nfcorpus", "bm25", 0.3217, 0.2457),
        ("scifact", "bm25?ties=docid", 0.6789, 0.9253),
    ],
)
def test_beir(real_index: Any, collections: Path, name: str, pipeline: str, ndcg: float, recall: float) -> None:
    index, topics = real_index(name)
    values = measured(collections, index, topics, pipeline, f"{name}/qrels/test.tsv", "nDCG@10 R@100")
    assert round(values["nDCG@10"], 4) == ndcg
    assert round(values["R@100"], 4) == recall


GOLDEN = [  # Pyserini's tests of the CACM index: pipeline, query, first id and score, tenth id (or None) and score
    ("bm25", "information retrieval", "CACM-3134", 4.7655, "CACM-2516", 4.2174),
    ("bm25?k1=0.8&b=0.3", "information retrieval", "CACM-3134", 4.8688, "CACM-2516", 4.3332),
    ("ql", "information retrieval", "CACM-3134", 3.6803, "CACM-1927", 2.5324),
    ("ql?mu=100", "information retrieval", "CACM-3134", 6.3558, "CACM-2631", 5.1896),
    ("bm25?prf=rm3", "information retrieval", "CACM-3134", 2.1735, "CACM-2516", 1.7018),
    (
        "bm25?prf=rm3&fb_docs=4&fb_terms=6&original_weight=0.3",
        "information retrieval",
        "CACM-3134",
        2.1715,
        "CACM-1457",
        1.4556,
    ),
    ("bm25?prf=rocchio", "information retrieval", "CACM-3134", 7.1883, "CACM-2140", 5.5797),
    (
        "bm25?prf=rocchio&fb_docs=8&fb_terms=10&alpha=0.4&beta=0.5&gamma=0.1&fb_depth=10",
        "information retrieval",
        "CACM-3134",
        3.6489,
        "CACM-1032",
        2.5751,
    ),
    (
        "bm25?prf=rocchio&fb_docs=8&fb_terms=10&alpha=0.4&beta=0.5",
        "information retrieval",
        "CACM-3134",
        4.0390,
        "CACM-1032",
        2.9155,
    ),
    ("bm25", "search", "CACM-3058", 2.8576, "CACM-3040", 2.6878),
]


@pytest.mark.parametrize(("pipeline", "query", "first", "first_score", "tenth", "tenth_score"), GOLDEN)
def test_golden_scores(
    real_index: Any, pipeline: str, query: str, first: str, first_score: float, tenth: str, tenth_score: float
) -> None:
    index, _ = real_index("cacm")
    hits = index.search(query, k=10, pipeline=pipeline + ("&" if "?" in pipeline else "?") + "ties=docid")
    assert (hits[0].id, hits[9].id) == (first, tenth)
    assert hits[0].score == pytest.approx(first_score, abs=6e-5)
    assert hits[9].score == pytest.approx(tenth_score, abs=6e-5)


def test_golden_expansion_terms(real_index: Any) -> None:
    from tamis.families import open_model

    index, _ = real_index("cacm")
    rm3 = open_model(index, "bm25?prf=rm3&ties=docid").expanded_terms("information retrieval")
    assert len(rm3) == 10
    assert rm3["storag"] == pytest.approx(0.024701, abs=1e-6)
    rocchio = open_model(index, "bm25?prf=rocchio&ties=docid").expanded_terms("information retrieval")
    assert rocchio["storag"] == pytest.approx(0.132200, abs=1e-6)


def test_golden_statistics_and_term_weights(real_index: Any) -> None:
    index, _ = real_index("cacm")
    reader = index.part("lucene").reader
    assert len(index) == reader.max_doc == 3204
    row = index.documents.require("CACM-3134")
    vector = reader.term_vector(row, "contents")
    assert len(vector) == 94
    assert (vector["inform"], vector["retriev"]) == (8, 7)
    assert reader.document_frequencies("contents", ["inform", "retriev", "nosuchterm"]) == {
        "inform": 302,
        "retriev": 138,
        "nosuchterm": 0,
    }
    for model, inform, retrieval in (("bm25", 2.06514, 2.70038), ("bm25?k1=1.2&b=0.75", 1.925014, 2.496352)):
        for word, wanted in (("information", inform), ("retrieval", retrieval)):
            scores = {hit.id: hit.score for hit in index.search(word, k=1000, pipeline=model)}
            assert scores["CACM-3134"] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", ["cacm", "nfcorpus"])
def test_anserinis_own_searcher_finds_the_same(real_index: Any, name: str) -> None:
    """Our Lucene folder opens in `SimpleSearcher` as it is; ids agree in order for the first thousand of every query."""
    index, topics = real_index(name)
    ranking = index.rank(topics, 1000, pipeline="bm25?ties=docid")
    searcher = java("io.anserini.search.SimpleSearcher")(str(index.path / "lucene"))
    try:
        searcher.set_bm25(start().JFloat(0.9), start().JFloat(0.4))
        compared = 0
        for query_id, text in topics.items():
            theirs = [(str(hit.docid), float(hit.score)) for hit in searcher.search(text, 1000)]
            ours = [(hit.id, hit.score) for hit in ranking[query_id]]
            assert [doc_id for doc_id, _ in ours] == [doc_id for doc_id, _ in theirs], query_id
            # SimpleSearcher rounds scores and lowers ties by a millionth each
            assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=2e-3)
            compared += len(ours)
        assert compared > 10_000
    finally:
        searcher.close()


@pytest.mark.parametrize(
    "model", ["bm25", "bm25?k1=1.2&b=0.75", "ql", "bm25?prf=rm3", "bm25?prf=rocchio", "bm25?ties=docid"]
)
@pytest.mark.parametrize("name", list(CORPORA))
def test_the_kernel_gives_lucenes_rows_and_scores(real_index: Any, name: str, model: str) -> None:
    """To the last bit, for the first thousand of every query."""
    index, topics = real_index(name)
    joined = "&" if "?" in model else "?"
    ours, theirs = (index.rank(topics, 1000, pipeline=f"{model}{joined}engine={e}") for e in ("kernel", "lucene"))
    assert ours.offsets.tolist() == theirs.offsets.tolist()
    assert ours.rows.tolist() == theirs.rows.tolist()
    assert ours.scores.tobytes() == theirs.scores.tobytes()
    assert len(ours.rows) > 10_000
