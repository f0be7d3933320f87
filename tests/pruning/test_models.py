"""Quality models that are networks: equal to plain transformers, whatever runs together; and the signals of vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tamis.encoders.base import Passage
from tamis.errors import MissingResourceError, ModelError, UsageError
from tamis.pruning.registry import open_quality
from tamis.pruning.vectors import CentroidStatistic, encoder_address

TEXTS = ["w1 w2 w3", "w4", "the w5 of w6 w7 w8 w9 w10", "w1 " * 90, "unknown w3", "w2 w2"]
GIVEN = [Passage("", text) for text in TEXTS]


@pytest.mark.parametrize("labels", [1, 2])
def test_a_classifier_gives_transformers_logits(classifier: Callable[..., Path], labels: int) -> None:
    from tokenizers import Tokenizer
    from transformers import BertForSequenceClassification

    folder = classifier(labels)
    found = open_quality(f"classifier:{folder}").score_passages(GIVEN)
    plain = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(64)
    for text, score in zip(TEXTS, found.tolist(), strict=True):
        with torch.no_grad():
            logits = plain(torch.tensor([tokenizer.encode(text).ids])).logits[0]
        want = logits[0] if labels == 1 else torch.log_softmax(logits, 0)[1]
        assert score == pytest.approx(float(want), abs=1e-5)


def test_a_classifier_of_something_else_is_refused(classifier: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="3 labels"):
        open_quality(f"classifier:{classifier(3)}")
    with pytest.raises(MissingResourceError, match="no model"):
        open_quality("classifier:./nowhere")


@pytest.mark.parametrize("bos", [2, None])
def test_perplexity_is_transformers_loss(language_model: Callable[..., Path], bos: int | None) -> None:
    from tokenizers import Tokenizer
    from transformers import GPT2LMHeadModel

    folder = language_model(bos)
    found = open_quality(f"perplexity:{folder}").score_passages(GIVEN)
    plain = GPT2LMHeadModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text, score in zip(TEXTS, found.tolist(), strict=True):
        ids = torch.tensor([([] if bos is None else [bos]) + tokenizer.encode(text).ids])[:, :48]
        if ids.shape[1] == 1:
            assert score == 0
            continue
        with torch.no_grad():
            loss = plain(ids, labels=ids).loss
        assert -score == pytest.approx(float(loss), abs=1e-5)


def test_magnitude_is_taken_before_normalisation(given: Callable[[Sequence[str]], Any]) -> None:
    from tamis.encoders.registry import open_encoder

    texts = given(["a sieve of horsehair", "", "the end"])
    model = open_quality("magnitude:dense:minilm")
    lengths = model.score_rows(texts)
    assert lengths[1] == 0
    assert abs(lengths[0] - lengths[2]) > 1e-3  # unit vectors would have no difference
    encoder = open_encoder("dense:minilm")
    encoder.normalise = False
    want = np.linalg.norm(encoder.encode_passages([texts.passages[0]]).vectors[0])
    assert lengths[0] == pytest.approx(want, rel=1e-5)


def test_signals_of_one_encoder_are_different_models() -> None:
    identities = [open_quality(f"{family}:dense:minilm").identity for family in ("magnitude", "centroid")]
    assert identities[0].fingerprint != identities[1].fingerprint
    assert open_quality("centroid:dense:minilm?max_length=20").identity.fingerprint != identities[1].fingerprint
    assert str(identities[1].address) == "centroid:dense:minilm"


def test_centroid_is_the_cosine_with_the_mean() -> None:
    vectors = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    vectors[3] = 0
    statistic = CentroidStatistic()
    collected = statistic.collect([{"vectors": vectors[:4]}, {"vectors": vectors[4:]}], {})
    found = statistic.score({"vectors": vectors}, collected)
    mean = vectors.mean(axis=0)
    for vector, score in zip(vectors, found, strict=True):
        want = vector @ mean / (np.linalg.norm(vector) * np.linalg.norm(mean)) if vector.any() else 0
        assert score == pytest.approx(want, abs=1e-6)


def test_models_of_vectors_are_named_by_their_encoder() -> None:
    from tamis.families import Address

    inner = encoder_address(Address.parse("centroid:dense:org/name@v1?max_length=20"))
    assert str(inner) == "dense:org/name@v1?max_length=20"
    with pytest.raises(UsageError, match="names no encoder"):
        open_quality("magnitude")
    with pytest.raises(UsageError, match="unknown family of encoders 'bm25'"):
        open_quality("magnitude:bm25:x")
