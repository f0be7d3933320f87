"""CoRT: cleaning, token types, projection and normalisation, worked out on the same random ALBERT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.encoders.base import Passage
from tamis.encoders.cort import clean
from tamis.encoders.registry import open_encoder
from tamis.errors import ModelError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Path]) -> Path:
    """A folder as CoRT's authors saved it: one state dict, ``transformer.*`` and ``f1.*``."""
    import torch
    from transformers import AlbertConfig, AlbertModel

    place = tiny(tmp_path_factory.mktemp("cort") / "model")
    (place / "model.safetensors").unlink()
    config = AlbertConfig(
        vocab_size=200,
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    torch.manual_seed(0)
    model = AlbertModel(config)
    state = {
        f"transformer.{name}": value + 0.1 * torch.randn_like(value)
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    state |= {"f1.weight": torch.randn(8, 32), "f1.bias": torch.randn(8)}
    torch.save(state, place / "model.pt")
    config.save_pretrained(place)
    return place


def by_hand(folder: Path, text: str, kind: int) -> np.ndarray:
    import torch
    from transformers import AlbertConfig, AlbertModel, AutoTokenizer

    state = torch.load(folder / "model.pt", weights_only=True)
    model = AlbertModel(AlbertConfig.from_pretrained(folder)).eval()
    model.load_state_dict(
        {n.removeprefix("transformer."): v for n, v in state.items() if n.startswith("transformer.")}, strict=False
    )
    from tokenizers import Tokenizer

    ids = torch.tensor([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids])
    assert AutoTokenizer is not None
    with torch.inference_mode():
        first = model(ids, token_type_ids=torch.full_like(ids, kind)).last_hidden_state[0, 0]
        vector = torch.tanh(state["f1.weight"] @ first + state["f1.bias"])
    return (vector / vector.norm()).numpy()


def test_both_sides_are_worked_out_by_hand(folder: Path) -> None:
    encoder = open_encoder(f"cort:{folder}")
    found = encoder.encode_passages([Passage("drum", "a (fine) sieve"), Passage("", "milk")]).vectors
    np.testing.assert_allclose(found[0], by_hand(folder, "drum a fine sieve", 0), atol=1e-5)
    np.testing.assert_allclose(found[1], by_hand(folder, "milk", 0), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(["milk"]).vectors[0], by_hand(folder, "milk", 1), atol=1e-5)
    assert (encoder.dimensions, encoder.similarity) == (8, "cosine")


def test_texts_are_cleaned_as_in_training() -> None:
    assert clean("a (fine) sieve — €5; what? x/y:z!") == "a fine sieve 5; what? x/y:z!"


def test_other_checkpoints_are_refused(folder: Path, tmp_path: Path, tiny: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"f1\.weight"):
        open_encoder(f"cort:{tiny(tmp_path / 'bert')}")


def test_its_ranking_is_interleaved_with_bm25_s(folder: Path, tmp_path: Path) -> None:
    """The golden case: 1, 2, 3 with 3, 4 is 1, 3, 2, 4.

    CoRT does not see the word that BM25 looks for, since cleaning removes it.
    """
    address, query = f"cort:{folder}", "drum ñññ"
    assert clean(query) == "drum"
    encoder = open_encoder(address)
    texts = ["a fine sieve", "potato soup", "milk butter", "term weight", "the cook pass"]
    similarities = (
        encoder.encode_passages([Passage("", t) for t in texts]).vectors @ encoder.encode_queries([query]).vectors[0]
    )
    ordered = [texts[i] for i in np.argsort(-similarities, kind="stable")]
    ordered[2] += " ñññ ñññ"
    ordered[3] += " ñññ"
    with tamis.Index.create(tmp_path / "index") as index:
        index.add([{"id": str(rank), "text": text} for rank, text in enumerate(ordered, 1)])
        index.add_part(address)

        def ids(pipeline: str) -> list[str]:
            return [hit.id for hit in index.rank(query, 10, pipeline=pipeline)["1"]]

        assert ids(f"{address} % 3") == ["1", "2", "3"]
        assert ids("bm25") == ["3", "4"]
        assert ids(f"interleave({address} % 3, bm25)") == ["1", "3", "2", "4"]
        assert ids(f"interleave({address}, bm25)") == ["1", "3", "2", "4", "5"]


def test_an_exported_graph_tells_queries_from_documents(folder: Path, runs_alike: Callable[[str], None]) -> None:
    runs_alike(f"cort:{folder}")
    same = open_encoder(f"cort:{folder}?backend=onnx")
    document, query = same.encode_passages([Passage("", "drum sieve")]), same.encode_queries(["drum sieve"])
    assert np.abs(document.vectors - query.vectors).max() > 1e-2
