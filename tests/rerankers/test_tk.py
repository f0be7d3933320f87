"""TK and TKL: written out word by word and region by region, and golden values of windows and saturation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tamis
from tamis.encoders.base import Passage
from tamis.errors import ModelError
from tamis.rerankers.base import PairScorer
from tamis.rerankers.registry import open_reranker
from tamis.rerankers.tk import TKScorer
from tamis.rerankers.tk_network import (
    EMPTY,
    MUS,
    TK,
    TKL,
    TKGeometry,
    blocks_of,
    kernels,
    peaks,
    positions,
    regions_of,
)
from tamis.testing import FamilyConformance

WORDS = ["drum", "sieve", "soup", "cook", "potato", "butter", "milk", "a", "of", "is", "fine", "."]
WIDTH = 12
QUERY = "what is a Drum sieve"
TEXTS = [
    "a drum sieve is fine.",
    "",
    "soup",
    "cook potato soup of milk " * 9,
    "butter of a drum . zebra " * 30 + "sieve drum sieve " * 5 + "milk " * 60,
    "drum sieve " * 21 + "soup",  # whose last words the released code leaves out
]


@pytest.fixture(scope="module", params=["tk", "tkl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(request.param) / "model"
    made.mkdir()
    config = {"model_type": request.param, "width": WIDTH, "heads": 3, "layers": 2, "inner": 16}
    (made / "config.json").write_text(json.dumps(config))
    (made / "vocabulary.txt").write_text("".join(f"{word}\n" for word in WORDS))
    torch.manual_seed(3)
    network = (TKL if request.param == "tkl" else TK)(TKGeometry(len(WORDS) + 2, WIDTH, 3, 2, 16))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if not name.startswith("saturation"):
                weight.add_(torch.randn_like(weight) * 0.1)
    save_file({name: value.clone() for name, value in network.state_dict().items()}, made / "model.safetensors")
    return made


@pytest.fixture
def model(folder: Path) -> TKScorer:
    opened: TKScorer = open_reranker(f"{kind(folder)}:{folder}")
    return opened


def kind(folder: Path) -> str:
    found: str = json.loads((folder / "config.json").read_text())["model_type"]
    return found


def in_context(network: TK, words: list[int], places: list[int]) -> torch.Tensor:
    """Word vectors in the context of each other alone; `places` are their positions."""
    plain = network.word_embeddings.token_embedder_tokens(torch.tensor([words]))
    table = positions(1000, WIDTH)
    context = network.contextualizer(plain + table[places])
    found: torch.Tensor = (network.mixer * plain + (1 - network.mixer) * context)[0]
    return found


def written_out(network: TK, query: list[int], document: list[int]) -> float:
    """The score of one pair, one similarity at a time."""
    asked = in_context(network, query, list(range(len(query))))
    if not document:
        logs = torch.full((len(query), len(MUS)), math.log(1e-10)).sum(0)
        return 0.0 if isinstance(network, TKL) else float(logs @ network.dense.weight[0])
    if not isinstance(network, TKL):
        read = in_context(network, document, [500 + i for i in range(len(document))])
        total = torch.zeros(len(MUS))
        for q in asked:
            for k, mu in enumerate(MUS):
                near = sum(math.exp(-((float(torch.cosine_similarity(q, d, 0)) - mu) ** 2) / 0.02) for d in read)
                total[k] += math.log(max(near * float(network.kernel_alpha_scaler[0, 0, k]), 1e-10))
        return float(total @ network.dense.weight[0])
    read = []
    for begin in range(0, len(document), 40):
        window = range(max(0, begin - 5), min(len(document), begin + 45))
        states = in_context(network, [document[i] for i in window], [i - begin + 5 for i in window])
        read += [states[i - window.start] for i in range(begin, min(begin + 40, len(document)))]
    near = torch.stack([torch.stack([torch.cosine_similarity(q, d, 0) for d in read]) for q in asked])
    strength = torch.stack([torch.exp(-((near - mu) ** 2) / 0.02) for mu in MUS], -1)
    scores = []
    for region in range(regions_of(len(document))):
        part = strength[:, 2 * region : 2 * region + 30]
        if not part.shape[1]:
            scores.append(EMPTY)
            continue
        total = torch.zeros(len(MUS))
        for q, vector in enumerate(asked):
            given = network.sat_normer(torch.tensor([float(network.sat_emb_reduce1(vector)), part.shape[1]]))
            a, b, c = (
                float(linear(given))
                for linear in (network.saturation_linear, network.saturation_linear2, network.saturation_linear3)
            )
            total += a * part[q].sum(0).clamp(min=1e-10) ** (1 / b) - c
        scores.append(float(total @ network.dense.weight[0]))
    left, best = list(scores), []
    for step in range(3):
        top = max(range(len(left)), key=lambda i: (left[i], -i))
        best.append(top)
        left = [EMPTY - 101 - step if abs(i - top) < 15 else value for i, value in enumerate(left)]
    around = [min(max(top + step, 0), len(scores) - 1) for step in (0, -1, 1, -2, 2) for top in best]
    chosen = [0.0 if scores[i] <= EMPTY else scores[i] for i in around]
    return float(torch.tensor(chosen) @ network.chunk_scoring[0])


def test_scores_written_out(model: TKScorer) -> None:
    assert isinstance(model, PairScorer)
    passages = [Passage("", text) for text in TEXTS]
    found = model.score_pairs([QUERY] * len(TEXTS), passages)
    most = 2000 if isinstance(model.network, TKL) else 200
    with torch.no_grad():
        expected = [written_out(model.network, model.numbers(QUERY), model.numbers(text)[:most]) for text in TEXTS]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-3, atol=1e-2 if most == 2000 else 1e-3)
    assert np.ptp(expected) > 0.1
    assert found.truncated == sum(len(model.numbers(text)) > most for text in TEXTS)


@pytest.mark.parametrize("budget", [1, 200, 100_000])
def test_batches_do_not_matter(model: TKScorer, budget: int) -> None:
    queries = [QUERY, "soup", "", "zebra . a", "drum " * 50, "milk of a potato"]
    passages = [Passage("", text) for text in TEXTS]
    alone = [model.score_pairs([q], [p]).scores[0] for q, p in zip(queries, passages, strict=True)]
    model.numerics = replace(model.numerics, tokens=budget)
    np.testing.assert_allclose(model.score_pairs(queries, passages).scores, alone, rtol=1e-5, atol=1e-5)
    assert len(model.score_pairs([], []).scores) == 0


def test_evidence_adds_up_to_the_score(model: TKScorer) -> None:
    for text in TEXTS:
        parts = model.explain_pair(QUERY, Passage("", text))
        score = model.score_pairs([QUERY], [Passage("", text)]).scores[0]
        assert sum(part.value or 0 for part in parts) == pytest.approx(score, rel=1e-3, abs=2e-3)
    many = [part.name for part in model.explain_pair(QUERY, Passage("", TEXTS[4]))]
    assert len(many) > 5
    assert all(name.startswith("words" if isinstance(model.network, TKL) else "similarities near") for name in many)


def test_words_are_numbered_after_padding_and_the_unknown(model: TKScorer) -> None:
    assert model.numbers("Drum, zebra sieve.") == [2, 1, 1, 3, 13]


@pytest.mark.parametrize(
    ("length", "right", "regions"), [(30, 25, 6), (31, 24, 6), (40, 15, 6), (200, 15, 86), (2000, 15, 986)]
)
def test_golden_windows(length: int, right: int, regions: int) -> None:
    assert blocks_of(length)[0] == right
    assert regions_of(length) == regions


def test_every_word_is_in_a_block() -> None:
    for length in range(1, 500):
        right, count = blocks_of(length)
        assert count * 40 >= length
        assert (5 + length + right - 50) // 40 + 1 == count


def test_golden_kernels_and_saturation() -> None:
    strength = kernels(torch.tensor([1, 0.5, -0.2])).sum(0)
    np.testing.assert_allclose(strength[[0, 1, 3]], [1.000004, 0.606866, 1.000004], atol=1e-5)
    network = TKL(TKGeometry(5, 4, 2, 1, 4))
    with torch.no_grad():
        for linear in (network.saturation_linear, network.saturation_linear2, network.saturation_linear3):
            linear.weight.zero_()
        a, b, c = (
            linear(torch.zeros(2))
            for linear in (network.saturation_linear, network.saturation_linear2, network.saturation_linear3)
        )
        found = a * torch.tensor([0.5, 1, 5, 20]) ** (1 / b) - c
    np.testing.assert_allclose(found, [-0.690750, 0, 1.622459, 3.041056], atol=1e-4)


def test_peaks_keep_their_distance() -> None:
    scores = torch.full((1, 86), -1.0)
    scores[0, [10, 12, 30, 60]] = torch.tensor([5.0, 4, 3, 2])
    assert peaks(scores, torch.tensor([[86]])).tolist() == [[10, 30, 60]]
    assert peaks(scores, torch.tensor([[14]])).tolist() == [[10, 0, 0]]


def test_gradients_reach_every_weight(folder: Path) -> None:
    network = open_reranker(f"{kind(folder)}:{folder}").network
    network(torch.tensor([[2, 3, 0], [4, 1, 5]]), torch.tensor([[2, 3, 4, 5], [6, 7, 0, 0]])).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("lost", ["mixer", "dense.weight", "contextualizer.layers.1.linear1.bias"])
def test_missing_weights_are_refused(folder: Path, tmp_path: Path, lost: str) -> None:
    for file in ("config.json", "vocabulary.txt"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    state = load_file(folder / "model.safetensors")
    del state[lost]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=lost.replace(".", r"\.")):
        open_reranker(f"{kind(folder)}:{tmp_path}")


def test_another_model_or_no_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    other = "tk" if kind(folder) == "tkl" else "tkl"
    with pytest.raises(ModelError, match=f"not '{other}'"):
        open_reranker(f"{other}:{folder}")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ModelError, match=r"vocabulary\.txt"):
        open_reranker(f"{kind(folder)}:{tmp_path}")


class TestFamily(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = {"1": "potato soup", "2": "cook"}

    @pytest.fixture(autouse=True)
    def _over(self, folder: Path, tmp_path: Path) -> Iterator[None]:
        type(self).address = f"{kind(folder)}:{folder}"
        with tamis.Index.create(tmp_path / "ix") as self._index:
            self._index.add([{"id": f"d{i}", "text": f"cook potato soup {text}"} for i, text in enumerate(TEXTS)])
            yield

    def source(self) -> Any:
        return self._index
