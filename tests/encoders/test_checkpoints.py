"""Checkpoints: where they are found, what of them counts, and that no weight is ever made up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tamis.encoders.checkpoints import (
    checkpoint_files,
    fill,
    find_checkpoint,
    load_transformer,
    read_config,
    read_json,
    read_state,
    refuse_missing,
)
from tamis.errors import MissingResourceError, ModelError

Put = Callable[..., None]
Save = Callable[..., Path]


def test_a_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert find_checkpoint(str(tmp_path / "org")) == tmp_path / "org"
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("org/name") == Path("org/name")  # a folder goes before a model of that name
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_checkpoint("~/org") == tmp_path / "org"
    for name in ("./nothing", "/nothing/here", "~/nothing", "nothing", "", "a/b/c"):
        with pytest.raises(MissingResourceError, match="no model at"):
            find_checkpoint(name)


def test_a_hub_model_is_found_at_its_revision(tmp_path: Path, tiny: Save, hub: Put) -> None:
    first, second = tiny(tmp_path / "first", seed=1), tiny(tmp_path / "second", seed=2)
    hub("org/model", first)
    hub("org/model", second, "v2")
    assert checkpoint_files(find_checkpoint("org/model")) == checkpoint_files(first)
    assert checkpoint_files(find_checkpoint("org/model", "v2")) == checkpoint_files(second)
    for name, revision in (("org/other", None), ("org/model", "v3")):
        with pytest.raises(MissingResourceError, match=f"{name}.*hf download {name}|{name}"):
            find_checkpoint(name, revision)


def test_files_that_decide_are_hashed(tmp_path: Path) -> None:
    for name in (
        "config.json",
        "1_Dense/model.safetensors",
        "README.md",
        ".cache/x.json",
        "data_config.json",
        "sub/.x.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(name)
    before = checkpoint_files(tmp_path)
    assert list(before) == ["1_Dense/model.safetensors", "config.json"]
    (tmp_path / "config.json").write_text("config.JSON")  # as long as before
    os.utime(tmp_path / "config.json", ns=(1, 1))
    after = checkpoint_files(tmp_path)
    assert after["config.json"] != before["config.json"]
    assert after["1_Dense/model.safetensors"] == before["1_Dense/model.safetensors"]


def test_json_is_read_or_told_to_be_damaged(tmp_path: Path) -> None:
    assert read_json(tmp_path / "x.json", {"a": 1}) == {"a": 1}
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ModelError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


def test_a_configuration_is_read_whatever_it_was_saved_as(tmp_path: Path) -> None:
    from transformers import AlbertConfig

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "cort", "hidden_size": 7, "unheard_of": 1}))
    config = read_config(tmp_path, AlbertConfig)
    assert (config.model_type, config.hidden_size, hasattr(config, "unheard_of")) == ("albert", 7, False)


def test_weights_are_read_from_any_file(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0), "b": torch.ones(2)}

    def check(folder: Path) -> None:
        found = read_state(folder)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)

    for name in ("model.safetensors", "pytorch_model.bin", "model.pt", "shards"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        if name == "shards":
            for key in state:
                save_file({key: state[key]}, folder / f"{key}.safetensors")
            index = {"weight_map": {key: f"{key}.safetensors" for key in state}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        elif name == "model.safetensors":
            save_file(state, folder / name)
        else:
            torch.save(state, folder / name)
        check(folder)


def test_weights_are_data(tmp_path: Path) -> None:
    """A pickle that would run something is not read."""
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return os.mkdir, (str(marker),)

    torch.save({"a": Evil()}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="cannot be read"):
        read_state(tmp_path)
    assert not marker.exists()


def test_damaged_weights_are_refused(tmp_path: Path, tiny: Save) -> None:
    with pytest.raises(ModelError, match="no weights"):
        read_state(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}')
    with pytest.raises(ModelError, match="cannot be read"):
        read_state(tmp_path)
    folder = tiny(tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        read_state(folder)
    with pytest.raises(ModelError, match="cannot be read as a transformer"):
        load_transformer(folder)


def test_no_weight_is_made_up(tmp_path: Path, tiny: Save) -> None:
    folder = tiny(tmp_path / "model", pooler=False)
    assert load_transformer(folder).training is False  # the pooler is not used, and may be missing
    with pytest.raises(ModelError, match=r"pooler\.dense"):
        load_transformer(folder, unused=())
    state = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in state.items() if "layer.1" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"encoder\.layer\.1\..* and \d+ more"):
        load_transformer(folder)
    (folder / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(ModelError, match="cannot be read as a transformer"):
        load_transformer(folder)
    refuse_missing(folder, ["pooler.x", "head.y"], ("pooler.", "head."))


def test_filling_a_module(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 1)
    state = {"f.weight": torch.tensor([[1.0, 2.0]]), "f.bias": torch.tensor([3.0]), "other": torch.ones(1)}
    fill(layer, state, tmp_path, "f.")
    assert layer(torch.tensor([1.0, 1.0])).tolist() == [6.0]
    with pytest.raises(ModelError, match=r"f\.bias"):
        fill(layer, {"f.weight": state["f.weight"]}, tmp_path, "f.")
    with pytest.raises(ModelError, match=r"f\.weight is \[1, 3\], not \[1, 2\]"):
        fill(layer, {**state, "f.weight": torch.ones(1, 3)}, tmp_path, "f.")
