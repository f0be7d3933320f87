"""CEDR: the released arithmetic written out, and documents of any length alone or among others."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
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
from tamis.rerankers.cedr import Cedr
from tamis.rerankers.cedr_heads import BINS, MUS, QUERY_LENGTH, SIGMAS, Drmm, Heads, Knrm, chunks_of
from tamis.rerankers.registry import open_reranker
from tamis.testing import FamilyConformance

HEADS = ["vanilla", "knrm", "pacrr", "drmm"]
WIDTH, LAYERS, LENGTH = 32, 3, 40
MOST = LENGTH - QUERY_LENGTH - 3
QUERY = "what is a drum sieve"
TEXTS = [
    "a drum sieve is fine",
    "",
    "soup",
    "the cook pass potato soup through a finer sieve " * 5,
    "rank of a query document " * 3,
    "milk " * 200,
]
PASSAGES = [Passage("of soup" if text else "", text) for text in TEXTS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, save: Callable[..., Path]) -> dict[str, Path]:
    """A checkpoint of each head under the released names, with the weights that only lie in released files too."""
    found = {}
    for number, name in enumerate(HEADS):
        folder = save(tmp_path_factory.mktemp("cedr") / name, head=False, length=LENGTH)
        state = {f"bert.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
        torch.manual_seed(number)
        head = Heads.classes[name](WIDTH, LAYERS)
        state |= {
            key: value if "kernels" in key else value + 0.1 * torch.randn_like(value)
            for key, value in head.state_dict().items()
        }
        if name in ("knrm", "drmm"):
            state |= {"bert_ranker.cls.weight": torch.ones(1, WIDTH), "bert_ranker.cls.bias": torch.ones(1)}
        for key in [key for key in state if "LayerNorm" in key]:  # as in files of its time
            state[key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")] = (
                state.pop(key)
            )
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "weights.p")
        found[name] = folder
    return found


def opened(folder: Path, **options: Any) -> Cedr:
    text = "&".join(f"{name}={value}" for name, value in options.items())
    made: Cedr = open_reranker(f"cedr:{folder}?{text}" if text else f"cedr:{folder}")
    return made


def released(folder: Path, name: str, query: list[int], document: list[int], *, length: int | None = None) -> float:
    """The score of one pair, as the released code goes about it; of documents padded to `length`."""
    from transformers import BertConfig, BertModel

    state = torch.load(folder / "weights.p", weights_only=True)
    state = {
        k.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): v
        for k, v in state.items()
    }
    bert = BertModel(BertConfig(**json.loads((folder / "config.json").read_text())), add_pooling_layer=False).eval()
    bert.load_state_dict({k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")}, strict=False)
    whole = length or len(document)
    tokens = torch.tensor(document + [-1] * (whole - len(document)))
    asked = torch.tensor(query + [-1] * (QUERY_LENGTH - len(query)))
    count = max(1, math.ceil(whole / MOST))
    size = math.ceil(whole / count)
    chunks = nn_pad(tokens, count * size).view(count, size)
    rows, masks = [], []
    for chunk in chunks:
        rows.append(
            torch.cat([torch.tensor([2]), asked.clamp(min=0), torch.tensor([3]), chunk.clamp(min=0), torch.tensor([3])])
        )
        one = torch.ones(1, dtype=torch.bool)
        masks.append(torch.cat([one, asked >= 0, one, chunk >= 0, one]))
    ids, mask = torch.stack(rows), torch.stack(masks).long()
    types = torch.cat([torch.zeros(count, QUERY_LENGTH + 2), torch.ones(count, size + 1)], 1).long()
    with torch.no_grad():
        layers = bert(ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True).hidden_states
        first = layers[-1][:, 0].mean(0)
        similar = []
        for layer in layers:
            q = layer[0, 1 : QUERY_LENGTH + 1]
            d = layer[:, QUERY_LENGTH + 2 : -1].reshape(-1, WIDTH)[:whole]
            cosine = (q @ d.T) / ((q.norm(dim=1) + 1e-9)[:, None] * (d.norm(dim=1) + 1e-9)[None])
            similar.append(cosine * (asked >= 0)[:, None] * (tokens >= 0)[None])
        sim = torch.stack(similar)
        if name == "vanilla":
            return float(first @ state["cls.weight"][0] + state["cls.bias"][0])
        if name == "knrm":
            kernels = torch.stack([torch.exp(-0.5 * (sim - m) ** 2 / s**2) for m, s in zip(MUS, SIGMAS, strict=True)])
            sums = kernels.sum(-1)
            seen = (sim.sum(-1) != 0).expand_as(sums)
            logs = torch.where(seen, torch.log(sums + 1e-6), torch.zeros(())).sum(-1).reshape(-1)
            return float(torch.cat([logs, first]) @ state["combine.weight"][0] + state["combine.bias"][0])
        if name == "pacrr":
            parts = []
            for n in range(3):
                weight, bias = state[f"ngrams.{n}.conv.weight"], state[f"ngrams.{n}.conv.bias"]
                conv = torch.relu(
                    torch.nn.functional.conv2d(torch.nn.functional.pad(sim, (0, n, 0, n))[None], weight, bias)
                )
                parts.append(conv.max(1).values.topk(2, -1).values.reshape(QUERY_LENGTH, 2))
            x = torch.cat([torch.cat(parts, 1).reshape(-1), first])
            for i in (1, 2):
                x = torch.relu(x @ state[f"linear{i}.weight"].T + state[f"linear{i}.bias"])
            return float(x @ state["linear3.weight"][0] + state["linear3.bias"][0])
        total = 0.0
        for i in range(QUERY_LENGTH):
            counts = torch.zeros(BINS, LAYERS)
            for layer in range(LAYERS):
                for j in range(whole):
                    if asked[i] >= 0 and tokens[j] >= 0:
                        counts[int((sim[layer, i, j] + 1.000001) / 2 * 10), layer] += 1
            x = torch.cat([torch.log(counts + 1e-5).reshape(-1), first])
            x = torch.relu(x @ state["hidden_1.weight"].T + state["hidden_1.bias"])
            total += float(x @ state["hidden_2.weight"][0] + state["hidden_2.bias"][0])
        return total


def nn_pad(tokens: torch.Tensor, length: int) -> torch.Tensor:
    return torch.nn.functional.pad(tokens, (0, length - len(tokens)), value=-1)


def pieces(model: Cedr, text: str, most: int) -> list[int]:
    return model.tokenizer.bare([text])[0][:most]


@pytest.mark.parametrize("name", HEADS)
def test_scores_are_those_of_the_released_code(folders: dict[str, Path], name: str) -> None:
    model = opened(folders[name], doc_length=59)
    assert isinstance(model, PairScorer)
    chosen = [p for p in PASSAGES if len(p.joined.split()) > 2]
    found = model.score_pairs([QUERY] * len(chosen), chosen)
    query = pieces(model, QUERY, 20)
    expected = [released(folders[name], name, query, pieces(model, p.joined, 59)) for p in chosen]
    np.testing.assert_allclose(found.scores, expected, atol=2e-4)
    assert np.ptp(expected) > 1e-2
    assert found.truncated == sum(len(pieces(model, p.joined, 1000)) > 59 for p in chosen) > 0
    assert model.tokens > 0


@pytest.mark.parametrize("name", HEADS)
def test_padding_counts_as_released_if_wanted(folders: dict[str, Path], name: str) -> None:
    most = 2 * MOST - 1
    model = opened(folders[name], doc_length=most, padding="released")
    found = model.score_pairs([QUERY] * 2, PASSAGES[:2]).scores
    query = pieces(model, QUERY, 20)
    expected = [released(folders[name], name, query, pieces(model, p.joined, most), length=most) for p in PASSAGES[:2]]
    np.testing.assert_allclose(found, expected, atol=2e-4)
    plain = opened(folders[name], doc_length=most).score_pairs([QUERY] * 2, PASSAGES[:2]).scores
    assert np.abs(plain - found).max() > 1e-3


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("budget", [1, 150, 100_000])
def test_batches_do_not_matter(folders: dict[str, Path], name: str, budget: int) -> None:
    model = opened(folders[name], doc_length=300)
    queries = [QUERY, "soup", "what is a drum sieve " * 9] * 2
    alone = np.array([model.score_pairs([q], [p]).scores[0] for q, p in zip(queries, PASSAGES, strict=True)])
    model.numerics = replace(model.numerics, tokens=budget)
    np.testing.assert_allclose(model.score_pairs(queries, PASSAGES).scores, alone, atol=1e-5, rtol=1e-5)
    assert len(model.score_pairs([], []).scores) == 0


def test_evidence_adds_up_to_the_score(folders: dict[str, Path]) -> None:
    model = opened(folders["knrm"])
    for passage in PASSAGES:
        parts = model.explain_pair(QUERY, passage)
        assert [part.name for part in parts][-2:] == ["similarities near 1", "[CLS]"]
        score = model.score_pairs([QUERY], [passage]).scores[0]
        assert sum(part.value or 0 for part in parts) == pytest.approx(score, rel=1e-4, abs=1e-4)
    assert opened(folders["pacrr"]).explain_pair(QUERY, PASSAGES[0]) == []


def test_documents_are_cut_evenly() -> None:
    assert [chunks_of(n, 489) for n in (0, 1, 489, 490, 600, 800)] == [
        (1, 0),
        (1, 1),
        (1, 489),
        (2, 245),
        (2, 300),
        (2, 400),
    ]
    for tokens in range(1, 3000):
        count, size = chunks_of(tokens, 489)
        assert (count - 1) * size < tokens <= count * size
        assert size <= 489
        assert count == math.ceil(tokens / 489)


def test_golden_kernels_and_bins() -> None:
    head = Knrm(2, 1)
    similar = torch.tensor([[[[1, 0.5, -0.2]]]])
    counts = head.counts(similar, torch.ones(1, 3, dtype=torch.bool))[0, :, 0, 0]
    np.testing.assert_allclose(counts[[10, 9, 7]].detach(), [1.0, 0.606866, 1.000004], atol=1e-5)
    padded = torch.cat([similar, torch.zeros(1, 1, 1, 1)], -1)
    seen = torch.tensor([[True, True, True, False]])
    assert torch.equal(head.counts(padded, seen)[0, :, 0, 0], counts)
    head.padded = True
    added = (head.counts(padded, seen)[0, :, 0, 0] - counts).detach()
    np.testing.assert_allclose(added[[3, 4, 5, 6]], [0.011109, 0.606531, 0.606531, 0.011109], atol=1e-5)
    cosines = torch.tensor([[[[-1, 0, 0.5, 0.999, 1]]]])
    one = torch.ones(1, 1, dtype=torch.bool)
    histogram = Drmm.histograms(cosines, one, one.expand(1, 5)).exp()[0, 0, 0]
    assert np.flatnonzero(histogram > 0.5).tolist() == [0, 5, 7, 9, 10]


@pytest.mark.parametrize("name", HEADS)
def test_gradients_reach_every_weight(folders: dict[str, Path], name: str) -> None:
    model = opened(folders[name])
    scores = model([[5, 6, 7]] * 2, [[8, 9, 10, 11], [5, 6, 7]])
    scores.sum().backward()
    assert [key for key, weight in model.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    ("name", "lost", "said"),
    [
        ("knrm", "combine.bias", "combine.bias"),
        ("pacrr", "ngrams.1.conv.weight", r"ngrams\.1\.conv\.weight"),
        ("drmm", "bert.encoder.layer.1.output.dense.weight", r"bert\.encoder\.layer\.1\.output\.dense\.weight"),
        ("vanilla", "cls.weight", "no head of CEDR"),
    ],
)
def test_missing_weights_are_refused(folders: dict[str, Path], tmp_path: Path, name: str, lost: str, said: str) -> None:
    shutil.copytree(folders[name], tmp_path / "m")
    state = torch.load(tmp_path / "m" / "weights.p", weights_only=True)
    del state[lost]
    torch.save(state, tmp_path / "m" / "weights.p")
    with pytest.raises(ModelError, match=said):
        opened(tmp_path / "m")


def test_a_checkpoint_alone_takes_its_base_from_elsewhere(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(folders["knrm"] / "weights.p", tmp_path / "alone")
    alone = opened(tmp_path / "alone", base=folders["knrm"])
    expected = opened(folders["knrm"]).score_pairs([QUERY], PASSAGES[:1]).scores
    np.testing.assert_array_equal(alone.score_pairs([QUERY], PASSAGES[:1]).scores, expected)


@pytest.mark.parametrize("name", HEADS)
def test_a_trained_model_is_saved_and_opened_again(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(folders[name], tmp_path / "m")
    model = opened(folders[name])
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01)
    (tmp_path / "m" / "weights.p").unlink()
    state = model.state_dict()
    released_names = torch.load(folders[name] / "weights.p", weights_only=True)
    assert {key for key in state if not key.startswith("bert.")} <= set(released_names)
    save_file({key: value.clone() for key, value in state.items()}, tmp_path / "m" / "model.safetensors")
    again = opened(tmp_path / "m")
    expected = model.score_pairs([QUERY] * 2, PASSAGES[:2]).scores
    np.testing.assert_array_equal(again.score_pairs([QUERY] * 2, PASSAGES[:2]).scores, expected)
    other = opened(folders[name])
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.score_pairs([QUERY] * 2, PASSAGES[:2]).scores, expected)


@pytest.mark.parametrize("name", HEADS)
def test_documents_of_thousands_of_tokens(folders: dict[str, Path], name: str) -> None:
    text = "the cook pass potato soup " * 1200
    found = opened(folders[name], doc_length=5000).score_pairs([QUERY], [Passage("", text)])
    assert np.isfinite(found.scores).all()
    assert found.truncated == 1
    cut = opened(folders[name], doc_length=5000).score_pairs([QUERY], [Passage("", " ".join(text.split()[:5000]))])
    np.testing.assert_array_equal(cut.scores, found.scores)


def test_a_model_that_reads_too_little_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["knrm"], tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 23}))
    with pytest.raises(UsageError, match="23 tokens"):
        opened(tmp_path / "m")


class TestFamily(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = {"1": "potato soup", "2": "cook"}

    @pytest.fixture(autouse=True)
    def _over(self, folders: dict[str, Path], tmp_path: Path) -> Any:
        type(self).address = f"cedr:{folders['knrm']}?doc_length=60"
        with tamis.Index.create(tmp_path / "ix") as self._index:
            self._index.add([{"id": f"d{i}", "text": f"cook potato soup {text}"} for i, text in enumerate(TEXTS)])
            yield

    def source(self) -> Any:
        return self._index


@pytest.mark.parametrize("name", HEADS)
def test_explain_on_the_command_line(
    folders: dict[str, Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernels where a head has them; else words."""
    with tamis.Index.create(tmp_path / "ix") as index:
        index.add([{"id": "d", "text": "a drum sieve is fine"}])
    pipeline = f"bm25 % 5 >> cedr:{folders[name]}"
    assert main(["explain", str(tmp_path / "ix"), "drum sieve", "d", "--pipeline", pipeline]) == 0
    told = capsys.readouterr().out
    assert ("kernel" in told or "similarities near" in told) == (name == "knrm")
    assert ("words left out" in told) == (name != "knrm")


def test_on_the_command_line(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tamis.Index.create(tmp_path / "ix") as index:
        index.add([{"id": f"d{i}", "text": f"drum sieve {text}"} for i, text in enumerate(TEXTS)])
    (tmp_path / "topics.tsv").write_text("1\tdrum sieve\n")
    run, given = tmp_path / "bm25.run", ["--topics", str(tmp_path / "topics.tsv"), "-o"]
    assert main(["search", str(tmp_path / "ix"), *given, str(run)]) == 0
    capsys.readouterr()
    address = f"cedr:{folders['pacrr']}"
    assert (
        main(["rerank", str(tmp_path / "ix"), str(run), "--model", address, "--json", *given, str(tmp_path / "o")]) == 0
    )
    assert json.loads(capsys.readouterr().out)["metrics"]["scored"] == len(TEXTS)
    lines = [line.split() for line in (tmp_path / "o").read_text().splitlines()]
    scores = (
        opened(folders["pacrr"]).score_pairs(["drum sieve"] * 6, [Passage("", f"drum sieve {t}") for t in TEXTS]).scores
    )
    assert [line[2] for line in lines] == [f"d{i}" for i in np.argsort(-scores, kind="stable")]
