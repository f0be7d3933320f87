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
from tamis.cli.app import main
from tamis.encoders.base import Passage
from tamis.errors import ModelError, UsageError
from tamis.rerankers.base import PairScorer
from tamis.rerankers.registry import open_reranker
from tamis.rerankers.tk import TKScorer
from tamis.rerankers.tk_network import (
    EMPTY,
    MUS,
    TK,
    TKL,
    FirstTK,
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


KINDS: dict[str, tuple[type[TK], dict[str, Any]]] = {
    "tk": (TK, {}),
    "tk-first": (FirstTK, {}),
    "tk-unmixed": (TK, {"mixed": False, "apart": 0}),
    "tkl": (TKL, {}),
    "tkl-log": (TKL, {"saturation": "log"}),
}


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tk(tmp_path_factory.mktemp(request.param) / "model", request.param)


def save_tk(made: Path, name: str) -> Path:
    """Write a small network with weights from a seed; `name` is one of `KINDS`."""
    made.mkdir()
    cls, changes = KINDS[name]
    config = {"model_type": name.partition("-")[0], "width": WIDTH, "heads": 3, "layers": 2, "inner": 16, **changes}
    (made / "config.json").write_text(json.dumps(config))
    (made / "vocabulary.txt").write_text("".join(f"{word}\n" for word in WORDS))
    torch.manual_seed(3)
    network = cls(TKGeometry(len(WORDS) + 2, WIDTH, 3, 2, 16, **changes))
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


def in_context(network: TK, words: list[int], places: torch.Tensor) -> torch.Tensor:
    """Word vectors in the context of each other alone; `places` stand for their positions."""
    plain = network.word_embeddings.token_embedder_tokens(torch.tensor([words]))
    context: torch.Tensor = network.contextualizer(plain + places)
    return (network.mixer * plain + (1 - network.mixer) * context if network.geometry.mixed else context)[0]


def written_out(network: TK, query: list[int], document: list[int], kept: int = 10**9) -> float:
    """The score of one pair, one similarity at a time; of a document for TKL, `kept` words count, and the others are context."""
    table = positions(1000, WIDTH)
    if isinstance(network, TKL):
        asked = in_context(network, query, network.positional_features_q[0, : len(query)])
    else:
        asked = in_context(network, query, table[: len(query)])
    if not document and isinstance(network, TKL):
        return 0.0
    if not isinstance(network, TKL):
        apart = {"FirstTK": 0, "TK": 500 if network.geometry.mixed else 0}[type(network).__name__]
        read = (
            in_context(network, document, table[apart : apart + len(document)]) if document else torch.zeros(0, WIDTH)
        )
        sums = torch.zeros(len(query), len(MUS))
        for q, vector in enumerate(asked):
            for k, mu in enumerate(MUS):
                cosines = [float(torch.cosine_similarity(vector, d, 0)) for d in read]
                sums[q, k] = sum(math.exp(-((cosine - mu) ** 2) / 0.02) for cosine in cosines)
        if not isinstance(network, FirstTK):
            scaled = (sums * network.kernel_alpha_scaler[0, 0]).clamp(min=1e-10)
            return float(torch.log(scaled).sum(0) @ network.kernel_bin_weights.weight[0])
        logs = (torch.log2(sums.clamp(min=1e-10)) * network.nn_scaler).sum(0)
        means = (sums / (len(document) + 1) * network.nn_scaler).sum(0)
        both = torch.stack([logs @ network.dense.weight[0], means @ network.dense_mean.weight[0]])
        return float(both @ network.dense_comb.weight[0])
    read = []
    for begin in range(0, len(document), 40):
        window = range(max(0, begin - 5), min(len(document), begin + 45))
        places = network.positional_features_d[0, [i - begin + 5 for i in window]]
        states = in_context(network, [document[i] for i in window], places)
        read += [states[i - window.start] for i in range(begin, min(begin + 40, len(document)))]
    read = read[:kept]
    near = torch.stack([torch.stack([torch.cosine_similarity(q, d, 0) for d in read]) for q in asked])
    strength = torch.stack([torch.exp(-((near - mu) ** 2) / 0.02) for mu in MUS], -1)
    scores = []
    for region in range(regions_of(len(read))):
        part = strength[:, 2 * region : 2 * region + 30]
        if not part.shape[1]:
            scores.append(EMPTY)
            continue
        total = torch.zeros(len(MUS))
        for q, vector in enumerate(asked):
            if network.geometry.saturation == "log":
                mult = network.kernel_mult[0].flatten()
                total += torch.log((part[q].sum(0) * mult).clamp(min=1e-10))
                continue
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


LOST = [
    ("tk", "mixer"),
    ("tk", "kernel_bin_weights.weight"),
    ("tk", "contextualizer.layers.1.linear1.bias"),
    ("tk-first", "dense_mean.weight"),
    ("tkl", "dense.weight"),
    ("tkl", "positional_features_d"),
    ("tkl-log", "kernel_mult"),
]


@pytest.mark.parametrize(("name", "lost"), LOST)
def test_missing_weights_are_refused(tmp_path: Path, name: str, lost: str) -> None:
    folder = save_tk(tmp_path / "whole", name)
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


@pytest.mark.parametrize("name", list(KINDS))
def test_what_matchmaker_saves_is_read(tmp_path: Path, name: str) -> None:
    """Its names, its shapes, weights that it has besides, and AllenNLP's list of words."""
    folder, saved = save_tk(tmp_path / "own", name), tmp_path / "saved"
    saved.mkdir()
    (saved / "config.json").write_bytes((folder / "config.json").read_bytes())
    (saved / "tokens.txt").write_text("@@UNKNOWN@@\n" + "".join(f"{word}\n" for word in WORDS))
    state, more = load_file(folder / "model.safetensors"), {"mu": torch.tensor(MUS), "sigma": torch.full([11], 0.1)}
    embedding = {key: state.pop(key) for key in list(state) if key.startswith("word_embeddings.")}
    if name.startswith("tkl"):
        more |= {"mixer_sat": torch.ones(1), "mixer_end": torch.ones(1), "kernel_mult": torch.ones(4, 1, 1, 1, 11)}
        more["positional_features_d"] = torch.cat([state.pop("positional_features_d"), torch.randn(1, 2000, WIDTH)], 1)
    else:
        more = {key: value.view(1, 1, 1, -1) for key, value in more.items()}
        more["positional_features_q"] = positions(200, WIDTH)[None]
    if name == "tk-first":
        state["mixer"] = state["mixer"].view(1, 1, 1)
    state = {f"neural_ir_model.{key}": value for key, value in (more | state).items()} | embedding
    torch.save(state, saved / "best-model.bin")
    queries, passages = [QUERY] * len(TEXTS), [Passage("", text) for text in TEXTS]
    expected, found = (
        open_reranker(f"{kind(one)}:{one}").score_pairs(queries, passages).scores for one in (folder, saved)
    )
    np.testing.assert_array_equal(found, expected)


def test_tkl_learns_positions_from_500_on() -> None:
    network = TKL(TKGeometry(5, 12, 3, 1, 4))
    assert network.positional_features_q.shape == (1, 30, 12)
    assert network.positional_features_d.shape == (1, 50, 12)
    np.testing.assert_allclose(network.positional_features_q[0, 7, 0].detach(), math.sin(7), rtol=1e-6)
    np.testing.assert_allclose(
        network.positional_features_d[0, 7, [0, 6]].detach(), [math.sin(507), math.cos(507)], rtol=1e-5
    )
    assert network.positional_features_d.requires_grad


def test_other_kernels_and_saturations_are_refused(tmp_path: Path) -> None:
    folder = save_tk(tmp_path / "model", "tkl")
    state = load_file(folder / "model.safetensors")
    save_file(state | {"sigma": torch.tensor([0.001, *[0.1] * 10])}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="kernels of its own, sigma"):
        open_reranker(f"tkl:{folder}")
    save_file(state, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"saturation": "idf"}))
    with pytest.raises(ModelError, match="saturation 'idf'"):
        open_reranker(f"tkl:{folder}")


def test_the_released_padding_leaves_last_words_out(tmp_path: Path) -> None:
    folder = save_tk(tmp_path / "model", "tkl")
    whole, released = open_reranker(f"tkl:{folder}"), open_reranker(f"tkl:{folder}?padding=released")
    passages = [Passage("", text) for text in TEXTS]
    queries = [QUERY] * len(passages)
    found = released.score_pairs(queries, passages).scores
    differs = found != whole.score_pairs(queries, passages).scores
    lengths = [len(released.numbers(text)) for text in TEXTS]
    assert lengths[5] == 43
    assert [i for i in range(len(TEXTS)) if differs[i]] == [
        i for i, n in enumerate(lengths) if n > 40 and 1 <= n % 40 <= 4
    ]
    with torch.no_grad():
        expected = written_out(whole.network, whole.numbers(QUERY), whole.numbers(TEXTS[5]), kept=40)
    assert found[5] == pytest.approx(expected, rel=1e-3, abs=1e-2)
    assert released.score_pairs([QUERY], [passages[5]]).scores[0] == pytest.approx(found[5], abs=1e-4)
    assert released.identity.fingerprint != whole.identity.fingerprint
    with pytest.raises(UsageError, match="padding=released"):
        open_reranker(f"tk:{save_tk(tmp_path / 'tk', 'tk')}?padding=released")


def test_a_list_of_words_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = save_tk(tmp_path / "model", "tk")
    (folder / "vocabulary.txt").rename(folder / "tokens.txt")
    with pytest.raises(ModelError, match="@@UNKNOWN@@"):
        open_reranker(f"tk:{folder}")


@pytest.mark.parametrize("name", ["tk", "tkl"])
def test_on_the_command_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index, run, topics = tmp_path / "ix", tmp_path / "bm25.run", tmp_path / "topics.tsv"
    texts = [f"drum sieve {text}" for text in TEXTS]
    with tamis.Index.create(index) as made:
        made.add([{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    topics.write_text("1\tdrum sieve\n")
    model = f"{name}:{save_tk(tmp_path / 'model', name)}"
    scores = open_reranker(model).score_pairs(["drum sieve"] * len(texts), [Passage("", text) for text in texts]).scores
    expected = [f"d{i}" for i in np.argsort(-scores, kind="stable")]

    def call(*args: object) -> str:
        capsys.readouterr()
        assert main([str(arg) for arg in args]) == 0
        return capsys.readouterr().out

    call("search", index, "--topics", topics, "-o", run)
    call("rerank", index, run, "--topics", topics, "--model", model, "-o", tmp_path / "out.run")
    lines = [line.split() for line in (tmp_path / "out.run").read_text().splitlines()]
    assert [line[2] for line in lines] == expected
    found = json.loads(call("search", index, "drum sieve", "--pipeline", f"bm25 % 9 >> {model}", "--json"))
    hits = found["results"]
    assert [hit["id"] for hit in hits] == expected
    told = call("explain", index, "drum sieve", "d0", "--pipeline", f"bm25 % 9 >> {model}")
    assert ("words 1 to" if name == "tkl" else "similarities near 1") in told


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
