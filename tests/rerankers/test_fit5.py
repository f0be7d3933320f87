"""FiT5: plain T5 where nothing is fused, the released network's arithmetic where it is, and lists of any length."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tamis
from tamis.encoders.base import Passage
from tamis.errors import MissingResourceError, ModelError, UsageError
from tamis.rerankers.fit5 import FiT5, shown_passage, shown_scores
from tamis.rerankers.fit5_network import FusionT5
from tamis.rerankers.lists import CandidateList
from tamis.rerankers.options import FiT5Options
from tamis.rerankers.registry import open_reranker
from tamis.rerankers.t5_network import Geometry
from tamis.testing import FamilyConformance

TRUE = 1176
WIDTH, HEADS = 32, 4
RELEASED = FiT5Options(score="global", score_min=165, score_max=190)
QUERY = "what is a drum sieve"
TEXTS = [
    "a drum sieve is fine",
    "butter",
    "the cook pass potato soup through a finer sieve",
    "",
    "soup soup",
    "rank of a query",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, save_t5_model: Callable[..., Path]) -> Path:
    """A checkpoint under the released names: a T5's, two layers of fusion, and an output matrix of its own."""
    made = save_t5_model(tmp_path_factory.mktemp("fit5") / "model", num_layers=3)
    state = load_file(made / "model.safetensors")
    vocabulary = len(state["shared.weight"]) + 8  # with room for the token that FiT5 adds
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {"vocab_size": vocabulary}))
    random = torch.Generator().manual_seed(5)

    def draw(*shape: int, scale: float) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * scale

    state["shared.weight"] = torch.cat([state["shared.weight"], draw(8, WIDTH, scale=1.0)])
    found = {f"module.t5.{name}": value for name, value in state.items() if name != "lm_head.weight"}
    for i in range(2):
        at = f"module.t5.encoder.project_global.{i}."
        found |= {f"{at}SelfAttention.{name}.weight": draw(WIDTH, WIDTH, scale=0.4) for name in "qkvo"}
        found[f"{at}layer_norm.weight"] = 1 + draw(WIDTH, scale=0.1)
    found["module.dense.weight"] = draw(vocabulary, WIDTH, scale=1.0)
    found["module.dense.bias"] = draw(vocabulary, scale=1.0)
    (made / "model.safetensors").unlink()
    torch.save(found, made / "pytorch_model.bin")
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> FiT5:
    opened: FiT5 = open_reranker(f"fit5:{folder}")
    return opened


def candidates(texts: list[str] = TEXTS, query: str = QUERY) -> CandidateList:
    return CandidateList(query, [Passage("of soup", text) for text in texts], 9.0 - np.arange(len(texts)))


def reference(folder: Path, prompts: list[list[int]], lists: list[list[int]], *, fused: bool = True) -> Any:
    """The logit of "true" by transformers' own T5, prompt by prompt, layer by layer, as the released code goes."""
    from transformers import T5Config, T5ForConditionalGeneration

    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    config = T5Config(**json.loads((folder / "config.json").read_text()))
    plain = T5ForConditionalGeneration(config).eval()
    own = {
        n.removeprefix("module.t5."): v for n, v in state.items() if n.startswith("module.t5.") and "global" not in n
    }
    plain.load_state_dict(own, strict=False)
    encoder = plain.encoder

    def attend(i: int, cls: torch.Tensor) -> torch.Tensor:
        at = f"module.t5.encoder.project_global.{i}."
        normed = cls / torch.sqrt((cls**2).mean(-1, keepdim=True) + 1e-6) * state[f"{at}layer_norm.weight"]
        q, k, v = (normed @ state[f"{at}SelfAttention.{n}.weight"].T for n in "qkv")
        heads = [x.view(len(cls), HEADS, -1).transpose(0, 1) for x in (q, k, v)]
        mixed = torch.softmax(heads[0] @ heads[1].transpose(1, 2), -1) @ heads[2]
        return mixed.transpose(0, 1).reshape(len(cls), -1) @ state[f"{at}SelfAttention.o.weight"].T

    with torch.no_grad():
        hidden = [plain.shared(torch.tensor([ids])) for ids in prompts]
        for number, block in enumerate(encoder.block):
            for i, x in enumerate(hidden):
                bias = encoder.block[0].layer[0].SelfAttention.compute_bias(x.shape[1], x.shape[1])
                attended = block.layer[0].SelfAttention
                normed = block.layer[0].layer_norm(x)
                q, k, v = (getattr(attended, n)(normed).view(1, -1, HEADS, 8).transpose(1, 2) for n in ("q", "k", "v"))
                weights = torch.softmax(q @ k.transpose(2, 3) + bias, -1)
                x = x + attended.o((weights @ v).transpose(1, 2).reshape(1, x.shape[1], -1))
                hidden[i] = block.layer[1](x)
            if fused and number >= 1:
                for places in lists:
                    cls = torch.stack([hidden[i][0, 0] for i in places])
                    cls = 2 * cls + attend(number - 1, cls)
                    for i, value in zip(places, cls, strict=True):
                        hidden[i][0, 0] = value
        logits = []
        for x in hidden:
            states = encoder.final_layer_norm(x)
            decoded = plain.decoder(input_ids=torch.zeros(1, 1, dtype=torch.long), encoder_hidden_states=states)
            row = decoded.last_hidden_state[0, 0] @ state["module.dense.weight"][TRUE]
            logits.append(float(row + state["module.dense.bias"][TRUE]))
    return np.array(logits)


def prompts_of(model: FiT5, *lists: CandidateList) -> list[list[int]]:
    return [list(ids) for ids in model._prompts(lists).inputs.ids]


def test_scores_are_those_of_the_released_arithmetic(folder: Path, model: FiT5) -> None:
    lists = [candidates(), candidates(TEXTS[:2], "soup"), candidates([])]
    found = model.score_lists(lists).scores
    expected = reference(folder, prompts_of(model, *lists), [list(range(6)), [6, 7]])
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-4)
    assert np.ptp(expected) > 0.1
    unfused = reference(folder, prompts_of(model, *lists), [], fused=False)
    assert np.abs(unfused - expected).max() > 0.01  # fusion does something here


def test_without_fusion_it_is_a_plain_t5(folder: Path, tmp_path: Path) -> None:
    """Attention that adds nothing leaves the state doubled; half of it is the plain state."""
    shutil.copytree(folder, tmp_path / "plain")
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for name in state:
        if "project_global" in name and name.endswith("o.weight"):
            state[name] = torch.zeros_like(state[name])
    torch.save(state, tmp_path / "plain" / "pytorch_model.bin")
    plain: FiT5 = open_reranker(f"fit5:{tmp_path / 'plain'}")
    for i in range(2):  # with the state doubled taken back
        layer = plain.network.encoder.project_global[i]  # type: ignore[index,union-attr]
        layer.register_forward_hook(lambda _module, _given, found: found * 0)
    found = plain.score_lists([candidates()]).scores[0]
    np.testing.assert_allclose(found, reference(folder, prompts_of(plain, candidates()), [], fused=False), atol=1e-4)


def test_the_golden_layer() -> None:
    geometry = Geometry(2, 2, 4, 1, 1, 1, 8, 20, 4, 1e-6, gated=False, scaled=True, start=0)
    network = FusionT5(geometry, 1)
    attention = network.encoder.project_global[0].SelfAttention  # type: ignore[index,union-attr]
    with torch.no_grad():
        for name in "qkvo":
            getattr(attention, name).weight.copy_(torch.eye(2))
    states = [torch.tensor([[[1.0, 0.0], [5.0, 5.0]]]), torch.tensor([[[0.0, 2.0], [7.0, 7.0]]])]
    network._fuse(0, states, torch.tensor([[0, 1]]))
    np.testing.assert_allclose(states[0][0].detach(), [[3.245633, 0.168579], [5, 5]], atol=1e-5)
    np.testing.assert_allclose(states[1][0].detach(), [[0.168578, 5.245635], [7, 7]], atol=1e-5)


@pytest.mark.parametrize(
    ("score", "shown"),
    [(190, "100"), (195, "100"), (189.99, "99"), (177.5, "50"), (165, "0"), (164.9, "0"), (165.25, "1"), (150, "-60")],
)
def test_bins_of_the_released_range(score: float, shown: str) -> None:
    assert shown_scores(np.array([score]), RELEASED) == [shown]


def test_bins_of_the_lists_own_range() -> None:
    assert shown_scores(np.array([12.0, 7.0, 4.5, 2.0]), FiT5Options()) == ["100", "50", "25", "0"]
    assert shown_scores(np.array([3.0, 3.0]), FiT5Options()) == ["100", "100"]
    assert shown_scores(np.zeros(0), FiT5Options()) == []


def test_the_prompt(model: FiT5) -> None:
    ids = prompts_of(model, candidates(["a  drum [SEP]sieve"], "what " * 40))[0]
    text = [model.template.tokenizer.raw.id_to_token(i) for i in ids]
    assert text[0] == "[CLS]"
    assert text[-1] == "</s>"
    assert text.count("▁what") == 13  # 64 characters
    wanted = f"Query: {('what ' * 40)[:64]} Title: of soup score: 100 Passage: a drum sieve Relevant:"
    unknown = str.maketrans(dict.fromkeys("TP", "<unk>"))  # letters that the vocabulary lacks
    assert "".join(text[1:-1]).replace("▁", " ").split() == wanted.translate(unknown).split()
    assert len(shown_passage("x" * 600)) == 512


def test_what_is_too_long_loses_its_passage_and_never_the_question(folder: Path) -> None:
    short: FiT5 = open_reranker(f"fit5:{folder}?max_length=64")
    end: FiT5 = open_reranker(f"fit5:{folder}?max_length=64&truncation=end")
    one = candidates(["soup " * 80])
    kept, cut = prompts_of(short, one)[0], prompts_of(end, one)[0]
    assert len(kept) == len(cut) == 64
    relevant = short.template.tokenizer.bare(["Relevant:"])[0]
    assert kept[-1 - len(relevant) : -1] == relevant
    assert cut[-1 - len(relevant) : -1] != relevant
    assert short.score_lists([one, candidates()]).counts["truncated"] == 1


@pytest.mark.parametrize("budget", [1, 64, 4096])
def test_batches_do_not_matter(folder: Path, model: FiT5, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    other: FiT5 = open_reranker(f"fit5:{folder}")
    other.numerics = replace(other.numerics, tokens=budget)
    lists = [candidates(), candidates(["butter"] * 3, "milk"), candidates(TEXTS[2:], "cook")]
    expected = [model.score_lists([one]).scores[0] for one in lists]
    for group in (1, 1 << 20):
        monkeypatch.setattr("tamis.rerankers.fit5.GROUP_TOKENS", group)
        for found, wanted in zip(other.score_lists(lists).scores, expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_order_of_candidates_does_not_matter(model: FiT5) -> None:
    one = candidates()
    order = np.random.default_rng(0).permutation(len(TEXTS))
    mixed = CandidateList(one.query, [one.passages[i] for i in order], one.scores[order])
    np.testing.assert_allclose(
        model.score_lists([mixed]).scores[0], model.score_lists([one]).scores[0][order], atol=1e-5
    )


def test_dummies_take_part(folder: Path, model: FiT5) -> None:
    filled: FiT5 = open_reranker(f"fit5:{folder}?dummies=8")
    one = candidates(TEXTS[:3])
    found = filled.score_lists([one, candidates([])]).scores
    assert [len(scores) for scores in found] == [3, 0]
    assert np.abs(found[0] - model.score_lists([one]).scores[0]).max() > 1e-3
    lists = [list(range(8))]
    np.testing.assert_allclose(found[0], reference(folder, prompts_of(filled, one), lists)[:3], atol=1e-4)


def test_a_deadline_leaves_whole_lists_out(model: FiT5) -> None:
    found = model.score_lists([candidates(), candidates()], until=0.0).scores
    assert np.isnan(np.concatenate(found)).all()


def test_gradients_reach_every_part(folder: Path, model: FiT5) -> None:
    trained: FiT5 = open_reranker(f"fit5:{folder}")
    ids = torch.tensor(
        model.template.inputs(
            {"query": [QUERY] * 2, "title": [""] * 2, "score": ["1"] * 2, "document": ["soup"] * 2}
        ).ids
    )
    logits = trained(ids, None, torch.tensor([[0, 1]]))
    logits.sum().backward()
    assert [name for name, weight in trained.network.named_parameters() if weight.grad is None] == []


def test_evidence_is_the_logit_and_what_was_shown(model: FiT5) -> None:
    one = candidates()
    found, scores = model.explain_list(one), model.score_lists([one]).scores[0]
    assert [e.value for e in found] == pytest.approx(scores.tolist())
    assert sum(e.details["share of the list"] for e in found) == pytest.approx(1, abs=1e-3)
    assert [e.details["score shown"] for e in found] == ["100", "80", "60", "40", "19", "0"] or found[0].details[
        "score shown"
    ] == "100"


def test_saved_weights_open_without_prefixes_too(folder: Path, model: FiT5, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "own")
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (tmp_path / "own" / "pytorch_model.bin").unlink()
    save_file(
        {name.removeprefix("module."): v.clone() for name, v in state.items()}, tmp_path / "own" / "model.safetensors"
    )
    own: FiT5 = open_reranker(f"fit5:{tmp_path / 'own'}")
    np.testing.assert_array_equal(
        own.score_lists([candidates()]).scores[0], model.score_lists([candidates()]).scores[0]
    )


def test_a_checkpoint_alone_takes_its_base_from_elsewhere(folder: Path, model: FiT5, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / "pytorch_model.bin", alone / "FiT5-global-cocondenser-3layer.bin")
    opened: FiT5 = open_reranker(f"fit5:{alone}?base={folder}")
    np.testing.assert_array_equal(
        opened.score_lists([candidates()]).scores[0], model.score_lists([candidates()]).scores[0]
    )
    assert opened.identity.fingerprint != model.identity.fingerprint


@pytest.mark.parametrize(
    "name", ["dense.bias", "t5.encoder.project_global.1.SelfAttention.k.weight", "t5.shared.weight"]
)
def test_missing_weights_are_refused_by_name(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "lacking")
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del state[f"module.{name}"]
    torch.save(state, tmp_path / "lacking" / "pytorch_model.bin")
    with pytest.raises(ModelError, match=name.removeprefix("t5.")):
        open_reranker(f"fit5:{tmp_path / 'lacking'}")


def test_a_plain_t5_is_refused(t5_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"dense\.weight"):
        open_reranker(f"fit5:{t5_folder}")


@pytest.mark.parametrize("options", ["score=global", "score=global&score_min=3&score_max=3"])
def test_a_range_must_be_given(folder: Path, options: str) -> None:
    with pytest.raises(UsageError, match="score_min"):
        open_reranker(f"fit5:{folder}?{options}")


def test_no_such_checkpoint() -> None:
    with pytest.raises(MissingResourceError):
        open_reranker("fit5:/nowhere")


def test_smaller_weights_give_the_same_scores(folder: Path, model: FiT5) -> None:
    """What float16 needs; powers of two round nothing."""
    shrunk: FiT5 = open_reranker(f"fit5:{folder}")
    shrunk.network.shrink()
    np.testing.assert_allclose(
        shrunk.score_lists([candidates()]).scores[0], model.score_lists([candidates()]).scores[0], atol=1e-4
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path_factory.mktemp("index") / "ix") as made:
        made.add(
            [
                {"id": f"d{i}", "title": "of soup", "text": f"cook rank potato soup {text}"}
                for i, text in enumerate(TEXTS)
            ]
        )
        yield made


def test_explain_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tamis.cli.app import main

    with tamis.Index.create(tmp_path / "ix") as index:
        index.add([{"id": f"d{i}", "text": f"drum sieve {text}"} for i, text in enumerate(TEXTS)])
    call = ["explain", str(tmp_path / "ix"), "drum sieve", "d0", "--pipeline", f"bm25 % 6 >> fit5:{folder}"]
    assert main(call) == 0
    told = capsys.readouterr().out.split("fit5:")[-1]
    assert all(word in told for word in ("logit of true", "share of the list", "score shown"))
    assert main([*call, "--json"]) == 0
    stage = json.loads(capsys.readouterr().out)["results"]["stages"][-1]
    assert stage["evidence"]["value"] == pytest.approx(stage["score"], abs=1e-4)
    assert 0 < stage["evidence"]["details"]["share of the list"] < 1


class TestFamily(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = {"1": "potato soup", "2": "cook"}

    @pytest.fixture(autouse=True)
    def _over(self, index: tamis.Index, folder: Path) -> None:
        self._index = index
        type(self).address = f"fit5:{folder}?score=none"

    def source(self) -> Any:
        return self._index


def test_it_reranks_in_a_pipeline(index: tamis.Index, folder: Path, model: FiT5) -> None:
    before = index.rank("potato soup", 6, pipeline="bm25")["1"]
    after = index.rank("potato soup", 6, pipeline=f"bm25 % 6 >> fit5:{folder}")["1"]
    passages = [Passage("of soup", index.document(hit.id).text) for hit in before]
    scores = model.score_lists([CandidateList("potato soup", passages, np.array([h.score for h in before]))]).scores[0]
    assert [hit.id for hit in after] == [before[i].id for i in np.argsort(-scores, kind="stable")]
