"""What words are worth: each share worked out again by hand, what is not read, what a limit leaves out, and the stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.errors import UsageError
from tamis.rerankers.attribution import OCCLUSION, SPAN_WORDS, attribute, spans_of, without, words_of
from tamis.rerankers.base import PairScorer, PairScores
from tamis.rerankers.cache import default_cache, pair_keys
from tamis.rerankers.registry import open_reranker
from tamis.stages import Evidence

QUERY = "what is a drum sieve"
PASSAGE = Passage("the Sieve", "a cook's drum sieve (of milk), is fine; butter and soup. The potato!")


def texts(passage: Passage, query: str = QUERY) -> dict[str, str]:
    return {"query": query, "title": passage.title, "passage": passage.text}


def fields(root: Evidence) -> dict[str, Evidence]:
    return {child.name: child for child in root.children}


def by_hand(model: PairScorer, read: dict[str, str], field: str, piece: Evidence) -> float:
    """The score of what is read less that without a piece of one field, each scored alone."""
    start, end = piece.details["start"], piece.details["end"]
    assert read[field][start:end] == piece.name
    cut = {**read, field: without(read[field], start, end)}
    scores = [
        model.score_pairs([one["query"]], [Passage(one["title"], one["passage"])]).scores[0] for one in (read, cut)
    ]
    return float(scores[0]) - float(scores[1])


class Counting:
    """A scorer without a model: a point for each time that the passage has a word of the query; it reads `words` of a passage."""

    def __init__(self, words: int = 10**9, of_query: int = 10**9) -> None:
        self.identity = ModelIdentity("counting:1")
        self.words, self.of_query = words, of_query
        self.asked: list[tuple[str, Passage]] = []
        self.lost: set[str] = set()

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        self.asked += zip(queries, passages, strict=True)
        tick(len(queries))
        scores, truncated = [], 0
        for query, passage in zip(queries, passages, strict=True):
            asked, read = query.split(), passage.joined.split()
            truncated += len(asked) > self.of_query or len(read) > self.words
            count = sum(word.strip(".") in asked[: self.of_query] for word in read[: self.words])
            scores.append(np.nan if passage.text in self.lost else count)
        return PairScores(np.array(scores, np.float32), truncated)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A drum-sieve, “fine” (really)!", ["A", "drum-sieve", "fine", "really"]),
        ("  cook's 3.5 % … — x", ["cook's", "3.5", "x"]),
        ("濾し器は a sieve", ["濾", "し", "器", "は", "a", "sieve"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("", []),
        ("?!", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in words_of(text)] == words


@pytest.mark.parametrize(
    ("text", "word", "left"),
    [
        ("a drum sieve", "drum", "a sieve"),
        ("a drum sieve", "a", "drum sieve"),
        ("a drum sieve", "sieve", "a drum"),
        ("fine (really) so", "really", "fine () so"),
        ("a drum.", "drum", "a ."),
        ("drum", "drum", ""),
    ],
)
def test_without_a_word(text: str, word: str, left: str) -> None:
    start = text.index(word)
    assert without(text, start, start + len(word)) == left


def test_spans_are_sentences_and_hold_every_word_once() -> None:
    text = "One two. Three four five! " + "word " * (SPAN_WORDS + 5) + "\n\nlast"
    words = words_of(text)
    spans = spans_of(text, words, 50)
    assert [len(own) for _, own in spans] == [2, 3, SPAN_WORDS, 5, 1]
    assert [word for _, own in spans for word in own] == words
    assert text[slice(*spans[1][0])] == "Three four five!"
    few = spans_of(text, words, 3)
    assert len(few) == 3
    assert [word for _, own in few for word in own] == words
    assert spans_of(text, words, 0) == spans_of("", [], 3) == []


@pytest.mark.parametrize("family", ["cross", "cross-onnx", "cross-two-labels", "monot5"])
def test_shares_worked_out_again(
    family: str, cross_folder: Path, t5_folder: Path, tmp_path: Path, save: Callable[..., Path]
) -> None:
    addresses = {
        "cross": f"cross:{cross_folder}",
        "cross-onnx": f"cross:{cross_folder}?backend=onnx",
        "monot5": f"monot5:{t5_folder}",
    }
    address = addresses.get(family) or f"cross:{save(tmp_path / 'two', labels=2)}"
    model = open_reranker(address)
    score = float(model.score_pairs([QUERY], [PASSAGE]).scores[0])
    root = attribute(model, QUERY, PASSAGE, score, 256)
    assert (root.name, root.details["score"]) == (OCCLUSION, pytest.approx(score, abs=1e-5))
    assert [child.name for child in root.children] == ["query", "title", "passage"]
    values = []
    for name, node in fields(root).items():
        words = words_of(texts(PASSAGE)[name])
        assert [(word.details["start"], word.details["end"]) for word in node.children] == words
        assert node.details["words"] == node.details["read"] == node.details["looked into"] == len(words)
        for word in node.children:
            assert word.value == pytest.approx(by_hand(model, texts(PASSAGE), name, word), abs=2e-5)
            values.append(word.value)
    assert np.ptp(values) > 3e-4
    assert attribute(model, QUERY, PASSAGE, score, 256) == root
    assert len(root.notes) == 1


def test_what_counts_and_what_does_not() -> None:
    root = attribute(Counting(), "drum sieve", Passage("drum", "a sieve. The drum sieve drum"), 5.0, 256)
    shares = {name: [(word.name, word.value) for word in node.children] for name, node in fields(root).items()}
    assert shares["query"] == [("drum", 3.0), ("sieve", 2.0)]
    assert shares["title"] == [("drum", 1.0)]
    assert shares["passage"] == [("a", 0), ("sieve", 1), ("The", 0), ("drum", 1), ("sieve", 1), ("drum", 1)]


def test_what_is_not_read_has_no_share(cross_folder: Path) -> None:
    model = open_reranker(f"cross:{cross_folder}")  # 64 tokens
    passage = Passage("of", "a drum sieve is fine . " * 12)
    score = float(model.score_pairs([QUERY], [passage]).scores[0])
    root = attribute(model, QUERY, passage, score, 256)
    node = fields(root)["passage"]
    read = texts(passage) | {"passage": node.details["text"]}
    assert passage.text.startswith(node.details["text"])
    assert (node.details["words"], node.details["read"]) == (60, len(node.children))
    # 64 tokens less those of the query, three marks and the title are 55: nine sentences of six tokens and five words, and "a"
    assert node.details["read"] == 9 * 5 + 1
    assert root.details["score"] == pytest.approx(score, abs=1e-5)
    for word in node.children[::7]:
        assert word.value == pytest.approx(by_hand(model, read, "passage", word), abs=2e-5)
    assert "passage: 14 of 60 words are behind what the model reads, and have no share" in root.notes
    assert not any("shares are of" in note for note in root.notes)


def test_a_word_that_is_cut_in_two_is_told(cross_folder: Path) -> None:
    model = open_reranker(f"cross:{cross_folder}?max_length=16")
    passage = Passage("", "a drum sieve zzzzzzzzzz")
    score = float(model.score_pairs([QUERY], [passage]).scores[0])
    root = attribute(model, QUERY, passage, score, 256)
    assert [word.name for word in fields(root)["passage"].children] == ["a", "drum", "sieve"]
    alone = float(model.score_pairs([QUERY], [Passage("", "a drum sieve")]).scores[0])
    assert root.details["score"] == pytest.approx(alone, abs=1e-5)
    assert any(note.startswith(f"shares are of {alone:.4f}") for note in root.notes)


def test_long_queries_and_titles_are_cut_too() -> None:
    model = Counting(words=4, of_query=3)
    root = attribute(model, "drum sieve a soup milk", Passage("drum x", "drum sieve soup soup soup"), 3.0, 256)
    assert {name: node.details["read"] for name, node in fields(root).items()} == {"query": 3, "title": 2, "passage": 2}
    assert root.details["score"] == 3.0
    assert [word.value for word in fields(root)["query"].children] == [2.0, 1.0, 0.0]
    only_title = attribute(Counting(words=1), "drum", Passage("drum drum", "drum"), 1.0, 256)
    assert {name: node.details["read"] for name, node in fields(only_title).items()} == {
        "query": 1,
        "title": 1,
        "passage": 0,
    }
    nothing = attribute(Counting(words=0), "drum", Passage("", "drum"), 0.0, 256)
    assert fields(nothing)["passage"].children == ()


def test_a_last_word_is_read_though_the_dots_behind_it_are_not() -> None:
    root = attribute(Counting(words=2), "drum", Passage("", "drum sieve . . ."), 1.0, 256)
    assert fields(root)["passage"].details["text"] == "drum sieve"
    assert not any("behind" in note for note in root.notes)


LONG = " ".join(f"Sentence {i} has {'drum sieve' if i in (3, 11) else 'some soup'} in it." for i in range(20))


@pytest.mark.parametrize("most", [0, 1, 5, 20, 40, 60, 141, 142, 1000])
def test_a_limit_is_kept_and_what_it_leaves_out_is_said(most: int) -> None:
    model = Counting()
    root = attribute(model, "drum sieve", Passage("", LONG), 4.0, most)
    variants = {pair for pair in model.asked if pair != ("drum sieve", Passage("", LONG))}
    assert len(variants) <= most
    assert root.details["texts"] == len(model.asked)
    node = fields(root)["passage"]
    looked = [word for one in node.children for word in one.children] if most < 142 else list(node.children)
    assert node.details["looked into"] == len(looked) == (140 if most >= 142 else node.details["looked into"])
    read = texts(Passage("", LONG), "drum sieve")
    for piece in [*node.children, *looked]:
        assert piece.value == by_hand(model, read, "passage", piece)
    said = " ".join(root.notes)
    assert (f"(occlusions={most})" in said) == (most < 142)


def test_the_spans_that_matter_most_are_looked_into() -> None:
    root = attribute(Counting(), "drum sieve", Passage("", LONG), 4.0, 48)
    spans = fields(root)["passage"].children
    inside = [span for span in spans if span.children]
    assert len(spans) == 20
    assert {span.name for span in inside} >= {"Sentence 3 has drum sieve in it.", "Sentence 11 has drum sieve in it."}
    assert [word.name for span in inside for word in span.children if word.value] == ["drum", "sieve"] * 2
    assert [span.value for span in spans if span.value] == [2.0, 2.0]
    assert spans[0].details["words"] == 7
    assert f"passage: the words of {len(inside)} of 20 spans were looked into" in " ".join(root.notes)


def test_a_text_without_a_score_is_told() -> None:
    model = Counting()
    model.lost = {"a sieve"}
    root = attribute(model, "drum", Passage("", "a drum sieve"), 1.0, 256)
    assert [word.value for word in fields(root)["passage"].children] == [0.0, None, 0.0]
    assert root.notes[-1] == "1 texts got no score"


# -- in the stage --------------------------------------------------------------------------------------------------

DOCUMENTS = [
    {"id": "a", "title": "of soup", "text": "the cook rank potato soup sieve. Fine is the drum of butter"},
    {"id": "b", "text": "potato soup"},
    {"id": "empty", "text": ""},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("index") / "ix") as made:
        made.add(DOCUMENTS)
        yield made


def evidence(index: tamis.Index, address: str, doc: str = "a") -> Evidence:
    found = index.explain("potato soup", doc, pipeline=f"bm25 % 9 >> {address}").stages[-1].evidence
    assert found is not None
    return found


def left_out(root: Evidence) -> list[Evidence]:
    here = [root] if root.name == OCCLUSION else []
    return here + [one for child in root.children for one in left_out(child)]


def test_explain_tells_words(index: tamis.Index, cross_folder: Path) -> None:
    root = evidence(index, f"cross:{cross_folder}")
    (words,) = left_out(root)
    assert words.details["score"] == pytest.approx(root.value, abs=1e-5)
    assert [child.name for child in words.children] == ["query", "title", "passage"]
    document = {"query": "potato soup", "title": DOCUMENTS[0]["title"], "passage": DOCUMENTS[0]["text"]}
    model = open_reranker(f"cross:{cross_folder}")
    for field in words.children:
        for word in field.children:
            assert word.value == pytest.approx(by_hand(model, document, field.name, word), abs=2e-5)


def test_variants_are_not_kept(index: tamis.Index, cross_folder: Path) -> None:
    address = f"cross:{cross_folder}"
    with tamis.open(index.path) as opened:  # whose model has not chosen its cache yet
        (words,) = left_out(evidence(opened, address))
    cache = default_cache()
    assert cache is not None
    assert words.details["texts"] > 10
    assert len(cache) == 2  # the candidates
    model = open_reranker(address)
    (key,) = pair_keys(model.identity.fingerprint, ["soup"], [Passage("of soup", DOCUMENTS[0]["text"])])
    assert cache.get([key]) == {}


def test_it_is_switched_off_and_bounded(index: tamis.Index, cross_folder: Path) -> None:
    assert left_out(evidence(index, f"cross:{cross_folder}?occlusions=0")) == []
    (few,) = left_out(evidence(index, f"cross:{cross_folder}?occlusions=6"))
    assert few.details["texts"] <= 6 + 1
    with pytest.raises(UsageError, match="occlusions"):
        evidence(index, f"cross:{cross_folder}?occlusions=-1")


@pytest.mark.parametrize("pool", ["max", "first", "mean"])
def test_words_are_those_of_the_window_that_decides(index: tamis.Index, cross_folder: Path, pool: str) -> None:
    root = evidence(index, f"cross:{cross_folder}?windows=tokens:4/4&pool={pool}")
    (words,) = left_out(root)
    best = max(root.children, key=lambda window: window.value or -np.inf)
    assert best.children == (words,)
    assert words.details["score"] == pytest.approx(best.value, abs=1e-5)
    assert fields(words)["passage"].details["text"] == best.name
    assert fields(words)["title"].details["text"] == "of soup"


def test_evidence_of_its_own_comes_first(index: tamis.Index) -> None:
    class Telling(Counting):
        def explain_pair(self, query: str, passage: Passage) -> list[Evidence]:
            return [Evidence("all of it", 2.0)] if "soup" in passage.text else []

    from tamis.rerankers.options import RerankOptions
    from tamis.rerankers.stage import PairReranker

    model: Any = Telling()
    stage = PairReranker(index.documents, lambda: model, RerankOptions(cache=False))
    asked = tamis.Queries.of("potato")
    ((told, silent),) = stage.explain(asked, index.documents.rows(["a", "empty"]))
    assert told.children == (Evidence("all of it", 2.0),)
    assert [child.name for child in silent.children] == [OCCLUSION]
    assert silent.children[0].children[0].name == "query"
