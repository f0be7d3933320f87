"""ColBERT: inputs and vectors worked out token by token on a checkpoint as colbert-ir publishes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamis.encoders.base import MultiVectorEncoder, Passage
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError

Save = Callable[..., Path]


def save_colbert(folder: Path, tiny: Save, **metadata: object) -> Path:
    """Weights ``bert.*`` and ``linear.weight``, artifact.metadata, and a tokenizer that knows the markers and punctuation."""
    import torch
    from safetensors.torch import load_file, save_file
    from tokenizers import Tokenizer

    tiny(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    for old, new in (("potato", "[unused0]"), ("butter", "[unused1]"), ("milk", ","), ("soup", "!")):
        vocabulary[new] = vocabulary.pop(old)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("[unused0]") is not None
    state = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(5)
    save_file({**state, "linear.weight": torch.randn(8, 32)}, folder / "model.safetensors", {"format": "pt"})
    (folder / "artifact.metadata").write_text(json.dumps({"query_maxlen": 10, "doc_maxlen": 12, **metadata}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Save) -> Path:
    return save_colbert(tmp_path_factory.mktemp("colbert") / "model", tiny)


def by_hand(folder: Path, tokens: list[str], attended: int) -> np.ndarray:
    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    state = load_file(folder / "model.safetensors")
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    model.load_state_dict({n.removeprefix("bert."): v for n, v in state.items() if n.startswith("bert.")})
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = torch.tensor([[raw.token_to_id(token) for token in tokens]])
    mask = torch.tensor([[1] * attended + [0] * (len(tokens) - attended)])
    with torch.inference_mode():
        vectors = model(ids, attention_mask=mask).last_hidden_state[0] @ state["linear.weight"].T
    return (vectors / vectors.norm(dim=1, keepdim=True)).numpy()


def test_a_query_is_marked_and_filled(folder: Path) -> None:
    encoder = open_encoder(f"colbert:{folder}")
    assert isinstance(encoder, MultiVectorEncoder)
    found = encoder.encode_queries(["drum sieve", "term " * 20])
    tokens = ["[CLS]", "[unused0]", "drum", "sieve", "[SEP]", *["[MASK]"] * 5]
    np.testing.assert_allclose(found.vectors[:10], by_hand(folder, tokens, 5), atol=1e-5)
    full = ["[CLS]", "[unused0]", *["term"] * 7, "[SEP]"]
    np.testing.assert_allclose(found.vectors[10:], by_hand(folder, full, 10), atol=1e-5)
    assert (found.lengths.tolist(), found.truncated) == ([10, 10], 1)


def test_masks_are_attended_where_the_checkpoint_says_so(tmp_path: Path, tiny: Save) -> None:
    folder = save_colbert(tmp_path / "model", tiny, attend_to_mask_tokens=True)
    tokens = ["[CLS]", "[unused0]", "drum", "[SEP]", *["[MASK]"] * 6]
    found = open_encoder(f"colbert:{folder}").encode_queries(["drum"])
    np.testing.assert_allclose(found.vectors, by_hand(folder, tokens, 10), atol=1e-5)


def test_a_document_loses_its_punctuation(folder: Path, tmp_path: Path, tiny: Save) -> None:
    found = open_encoder(f"colbert:{folder}").encode_passages(
        [Passage("drum", "fine, finer!"), Passage("", "rank " * 30)]
    )
    tokens = ["[CLS]", "[unused1]", "drum", "fine", ",", "finer", "!", "[SEP]"]
    want = by_hand(folder, tokens, 8)
    np.testing.assert_allclose(found.vectors[:6], want[[0, 1, 2, 3, 5, 7]], atol=1e-5)
    assert (found.lengths.tolist(), found.truncated) == ([6, 12], 1)
    kept = save_colbert(tmp_path / "kept", tiny, mask_punctuation=False)
    assert open_encoder(f"colbert:{kept}").encode_passages([Passage("drum", "fine, finer!")]).lengths.tolist() == [8]


def test_vectors_do_not_depend_on_what_runs_together(folder: Path) -> None:
    encoder = open_encoder(f"colbert:{folder}")
    texts = [Passage("", "drum"), Passage("", "the cook of the fine sieve"), Passage("", "a")]
    together = encoder.encode_passages(texts).vectors
    alone = np.concatenate([encoder.encode_passages([text]).vectors for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_checkpoint_without_projection_is_refused(folder: Path, tmp_path: Path, tiny: Save) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(ModelError, match=r"linear\.weight"):
        open_encoder(f"colbert:{tiny(tmp_path / 'bert')}")
    broken = save_colbert(tmp_path / "broken", tiny)
    state = load_file(broken / "model.safetensors")
    name = "bert.encoder.layer.0.output.dense.bias"
    save_file(
        {key: value for key, value in state.items() if key != name}, broken / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match=name):
        open_encoder(f"colbert:{broken}")


def test_an_exported_graph_gives_the_same(folder: Path, runs_alike: Callable[[str], None]) -> None:
    runs_alike(f"colbert:{folder}")


def test_an_exported_graph_hears_of_masks(tmp_path: Path, tiny: Save, runs_alike: Callable[[str], None]) -> None:
    runs_alike(f"colbert:{save_colbert(tmp_path / 'attended', tiny, attend_to_mask_tokens=True)}")
