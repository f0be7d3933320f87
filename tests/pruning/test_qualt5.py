"""QualT5: transformers' answers to its prompt, its words, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tamis.encoders.base import Passage
from tamis.encoders.options import LengthOptions
from tamis.errors import ModelError
from tamis.families import Address
from tamis.pruning.qualt5 import QualT5, load

LONG = "the cook pass potato soup through a finer sieve of butter, milk and 12 fine rank of a query term " * 4
PASSAGES = [
    Passage("", "a drum sieve is fine"),
    Passage("", ""),
    Passage("of soup", "the cook rank milk"),
    Passage("", LONG),
    Passage("", "zebra 123 !"),
]


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    path = Path(__file__).parents[1] / "rerankers" / "conftest.py"
    spec = importlib.util.spec_from_file_location("rerankers_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., Path] = module.save_t5
    return found


def opened(folder: Path, **options: object) -> QualT5:
    return load(Address.parse(f"qualt5:{folder}"), LengthOptions(**options))


def reference(folder: Path, targets: Sequence[int]) -> np.ndarray:
    """log P(true), by transformers' own model with its output matrix cut to two rows, the positive word's first."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    found = []
    for title, text in PASSAGES:
        given = tokenizer(f"Document: {title} {text} Relevant:", return_tensors="pt")
        start = torch.tensor([[model.config.decoder_start_token_id]])
        with torch.no_grad():
            logits = model(
                input_ids=given.input_ids, attention_mask=given.attention_mask, decoder_input_ids=start
            ).logits
        found.append(torch.log_softmax(logits[0, 0, list(targets)].double(), 0)[0].item())
    return np.array(found)


def test_quality_is_that_of_transformers(tmp_path: Path, save: Callable[..., Path]) -> None:
    for name, made in {"t5": {}, "mt5": {"kind": "mt5", "gated": True, "untied": True}}.items():
        folder = save(tmp_path / name, **made)
        model = opened(folder)
        ticks: list[int] = []
        scores = model.score_passages(PASSAGES, ticks.append)
        np.testing.assert_allclose(scores, reference(folder, (1176, 6136)), atol=1e-5)
        assert scores.dtype == np.float32
        assert np.ptp(scores) > 0.1
        assert (scores <= 0).all()
        assert sum(ticks) == len(PASSAGES)
        alone = [model.score_passages([one])[0] for one in PASSAGES]
        np.testing.assert_allclose(scores, alone, atol=1e-5)
    assert len(model.score_passages([])) == 0


def test_too_long_a_passage_is_cut_before_what_asks(tmp_path: Path, save: Callable[..., Path]) -> None:
    folder = save(tmp_path / "model")
    model = opened(folder, max_length=32)
    (ids,) = model.template.inputs({"document": [LONG]}).ids
    tokens = [model.tokenizer.raw.id_to_token(i) for i in ids]
    assert (len(ids), tokens[:2], tokens[-3:]) == (32, ["▁Document", ":"], ["▁Relevant", ":", "</s>"])
    assert model.identity.fingerprint != opened(folder).identity.fingerprint


def test_words_are_the_configurations_or_true_and_false(tmp_path: Path, save: Callable[..., Path]) -> None:
    words = {20: "▁good", 30: "▁bad", 259: "▁true"}
    folder = save(tmp_path / "model", kind="mt5", words=words)
    model = opened(folder)
    space = model.tokenizer.id_of("▁")  # what "false" begins with, where it is no token
    assert model.identity.settings["targets"] == [space, 259]
    np.testing.assert_allclose(model.score_passages(PASSAGES), reference(folder, (259, space)), atol=1e-5)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"targets": ["good", "bad"]}))
    assert opened(folder).identity.settings["targets"] == [30, 20]
    for wrong in (["good"], ["good", "good"], ["good", ""]):
        path.write_text(json.dumps(config | {"targets": wrong}))
        with pytest.raises(ModelError, match="not two words"):
            opened(folder)
