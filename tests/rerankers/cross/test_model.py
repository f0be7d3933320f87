"""Cross-encoders: sentence-transformers' logits, whatever runs together; damage and mistakes are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders import batching
from tamis.encoders.base import Passage
from tamis.errors import MissingResourceError, ModelError, UnknownNameError, UsageError
from tamis.rerankers.base import PairScorer
from tamis.rerankers.registry import open_reranker, reranker_families

Save = Callable[..., Path]
LONG = "the cook pass potato soup through a finer sieve of butter, milk and 12 fine rank of a query term " * 4
PAIRS = [
    ("what is a drum sieve", "a drum sieve is fine"),
    ("what is a drum sieve", ""),
    ("", "milk"),
    ("butter", LONG),
    (LONG, "soup"),
    (LONG, LONG + "zebra"),
    ("term weight", "zebra 123 ! of the document"),
    ("what is a drum sieve", "how the cook rank soup"),
]
QUERIES = [query for query, _ in PAIRS]
PASSAGES = [Passage("", passage) for _, passage in PAIRS]


def reference(folder: Path, pairs: list[tuple[str, str]] = PAIRS, **options: object) -> np.ndarray:
    """What sentence-transformers says, as logits."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu")
    return model.predict(pairs, activation_fn=torch.nn.Identity(), batch_size=3, **options)


def test_one_label_gives_the_logits_of_sentence_transformers(cross_folder: Path) -> None:
    model = open_reranker(f"cross:{cross_folder}")
    assert isinstance(model, PairScorer)
    ticks: list[int] = []
    found = model.score_pairs(QUERIES, PASSAGES, tick=ticks.append)
    np.testing.assert_allclose(found.scores, reference(cross_folder), atol=1e-4)
    assert np.ptp(found.scores) > 1  # the parity of constants would show nothing
    assert found.scores.dtype == np.float32
    assert found.truncated == 3
    assert sum(ticks) == len(PAIRS)
    assert "cross" in reranker_families()


def test_two_labels_give_the_log_probability_of_the_second(tmp_path: Path, save: Save) -> None:
    folder = save(tmp_path / "model", labels=2)
    logits = reference(folder).astype(np.float64)
    expected = logits[:, 1] - np.logaddexp(logits[:, 0], logits[:, 1])
    np.testing.assert_allclose(
        open_reranker(f"cross:{folder}").score_pairs(QUERIES, PASSAGES).scores, expected, atol=1e-4
    )


def test_certain_pairs_are_not_tied(tmp_path: Path, save: Save) -> None:
    import torch

    model = open_reranker(f"cross:{save(tmp_path / 'model', labels=2)}")
    scores = model.score(torch.tensor([20.0, 25.0, 60.0]))
    assert scores[0] < scores[1] < scores[2] <= 0  # a float32 softmax says 1.0 of all three


def test_a_folder_of_sentence_transformers_is_read(tmp_path: Path, cross_folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(cross_folder), device="cpu", prompts={"web": "how "}, default_prompt_name="web")
    model.max_seq_length = 40
    model.save_pretrained(str(tmp_path / "saved"))
    found = open_reranker(f"cross:{tmp_path / 'saved'}")
    assert found.format.prompt == "how "
    assert found.format.max_length == 40
    scores = found.score_pairs(QUERIES, PASSAGES).scores
    np.testing.assert_allclose(scores, reference(tmp_path / "saved"), atol=1e-4)
    plain = open_reranker(f"cross:{tmp_path / 'saved'}?prompt=the%20&max_length=64")
    expected = reference(cross_folder, prompt="the ")
    np.testing.assert_allclose(plain.score_pairs(QUERIES, PASSAGES).scores, expected, atol=1e-4)
    assert plain.identity.fingerprint != found.identity.fingerprint


def test_models_without_token_types_get_none(tmp_path: Path, save: Save) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    untyped = save(tmp_path / "untyped", typed=False)
    np.testing.assert_allclose(
        open_reranker(f"cross:{untyped}").score_pairs(QUERIES, PASSAGES).scores, reference(untyped), atol=1e-4
    )
    folder = save(tmp_path / "model", typed=False)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    config = DistilBertConfig(
        vocab_size=vocabulary, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64, num_labels=1
    )
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    scores = open_reranker(f"cross:{folder}").score_pairs(QUERIES, PASSAGES).scores
    np.testing.assert_allclose(scores, reference(folder), atol=1e-4)


def test_scores_do_not_depend_on_what_runs_together(cross_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_reranker(f"cross:{cross_folder}")
    together = model.score_pairs(QUERIES, PASSAGES).scores
    alone = [model.score_pairs([q], [p]).scores[0] for q, p in zip(QUERIES, PASSAGES, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setattr(batching, "CPU_TOKENS", 7)
    np.testing.assert_allclose(model.score_pairs(QUERIES, PASSAGES).scores, together, atol=1e-5)
    order = [5, 3, 0, 7, 1, 2, 6, 4]
    moved = model.score_pairs([QUERIES[i] for i in order], [PASSAGES[i] for i in order]).scores
    np.testing.assert_allclose(moved, together[order], atol=1e-5)


def test_title_and_text_are_joined(cross_folder: Path) -> None:
    model = open_reranker(f"cross:{cross_folder}")
    scores = model.score_pairs(["soup"] * 2, [Passage("drum", "sieve"), Passage("", "drum sieve")]).scores
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_no_pairs_are_no_scores(cross_folder: Path) -> None:
    found = open_reranker(f"cross:{cross_folder}").score_pairs([], [])
    assert len(found.scores) == 0
    assert found.truncated == 0


def test_a_query_may_be_cut_as_monobert_cuts_it(cross_folder: Path) -> None:
    model = open_reranker(f"cross:{cross_folder}?query_length=3")
    found = model.score_pairs(["what is a drum sieve"], [Passage("", "soup")])
    np.testing.assert_allclose(found.scores, reference(cross_folder, [("what is a", "soup")]), atol=1e-4)
    assert found.truncated == 1


def test_forward_is_differentiable(tmp_path: Path, save: Save) -> None:
    import torch

    for labels in (1, 2):
        model = open_reranker(f"cross:{save(tmp_path / str(labels), labels=labels)}")
        model(torch.tensor([[2, 7, 3, 8, 3]]), types=torch.tensor([[0, 0, 0, 1, 1]])).sum().backward()
        assert model.classifier.classifier.weight.grad.abs().sum() > 0
        assert model.classifier.bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_reduced_precision_is_close(cross_folder: Path) -> None:
    exact, reduced = (open_reranker(f"cross:{cross_folder}?dtype={name}") for name in ("float32", "bfloat16"))
    a, b = (model.score_pairs(QUERIES, PASSAGES).scores for model in (exact, reduced))
    assert exact.identity.fingerprint != reduced.identity.fingerprint
    assert np.abs(a - b).max() < 0.05 * np.ptp(a)
    assert np.abs(a - b).max() > 0


def test_tokens_are_counted(cross_folder: Path) -> None:
    model = open_reranker(f"cross:{cross_folder}")
    model.score_pairs(["soup", "drum"], [Passage("", "a"), Passage("", "a of")])
    assert model.tokens == (3 + 2) + (3 + 3)


def test_a_head_that_would_be_random_is_refused(tmp_path: Path, save: Save) -> None:
    with pytest.raises(ModelError, match="classifier"):
        open_reranker(f"cross:{save(tmp_path / 'bare', head=False)}")
    with pytest.raises(ModelError, match="Pooling"):
        open_reranker("cross:minilm")


def test_not_a_number_is_an_error(tmp_path: Path, save: Save) -> None:
    import torch

    model = open_reranker(f"cross:{save(tmp_path / 'model')}")
    with torch.no_grad():
        model.classifier.classifier.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite for input 0"):
        model.score_pairs(["soup"], [Passage("", "milk")])


def test_what_cannot_be_meant_is_refused(tmp_path: Path, save: Save, cross_folder: Path) -> None:
    gelu, modular = save(tmp_path / "gelu"), save(tmp_path / "modular")
    (gelu / "config_sentence_transformers.json").write_text('{"activation_fn": "torch.nn.modules.activation.GELU"}')
    (modular / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling", "path": ""}]')
    for address, error, message in (
        (f"cross:{save(tmp_path / 'nli', labels=3)}", ModelError, "3 labels"),
        (f"cross:{gelu}", ModelError, "GELU"),
        (f"cross:{modular}", ModelError, "Pooling"),
        (f"cross:{cross_folder}?max_length=1000", ModelError, "64 positions"),
        (f"cross:{cross_folder}?max_length=7", UsageError, "at least 8"),
        (f"cross:{cross_folder}?dtype=int3", UnknownNameError, "dtype"),
        ("cross:./nothing-here", MissingResourceError, "no model"),
        ("dense:minilm", UnknownNameError, "family of rerankers"),
    ):
        with pytest.raises(error, match=message):
            open_reranker(address)
