"""Sparse vectors read from files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tamis.encoders.base import Passage, SparseEncoder
from tamis.encoders.registry import open_encoder
from tamis.errors import DataError, MissingResourceError, UsageError

LINES = [
    {"id": "a", "contents": "ignored", "vector": {"tea": 3, "##s": 1.5, "none": 0}},
    {"id": "b", "vector": {}},
    {"id": "c", "vector": {"milk": 200, "tea": 1}},
]


def test_a_file_or_a_folder_of_files(tmp_path: Path) -> None:
    whole = tmp_path / "all.jsonl"
    whole.write_text("".join(json.dumps(line) + "\n" for line in LINES) + "\n", "utf-8")
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "1.jsonl").write_text(json.dumps(LINES[0]) + "\n", "utf-8")
    with gzip.open(folder / "2.jsonl.gz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(line) + "\n" for line in LINES[1:])
    for path in (whole, folder):
        encoder = open_encoder(f"impacts:{path}")
        assert isinstance(encoder, SparseEncoder)
        assert list(encoder.names() or ()) == ["##s", "milk", "tea"]
        found = encoder.vectors_of(["c", "a", "b"])  # type: ignore[attr-defined]
        assert found.offsets.tolist() == [0, 2, 4, 4]
        assert found.indices.tolist() == [1, 2, 0, 2]
        assert found.values.tolist() == [200, 1, 1.5, 3]


def test_weights_become_whole_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(json.dumps({"id": "a", "vector": {"x": 1.999, "y": 0.5, "z": 0.004}}) + "\n", "utf-8")

    def values(options: str) -> dict[str, float]:
        encoder = open_encoder(f"impacts:{path}{options}")
        found = encoder.vectors_of(["a"])  # type: ignore[attr-defined]
        names = list(encoder.names() or ())
        return {names[i]: w for i, w in zip(found.indices.tolist(), found.values.tolist(), strict=True)}

    assert values("") == pytest.approx({"x": 1.999, "y": 0.5, "z": 0.004})
    assert values("?rounding=down") == {"x": 1}
    assert values("?rounding=half-up") == {"x": 2, "y": 1}
    assert values("?rounding=half-even&factor=100") == {"x": 200, "y": 50}
    assert values("?rounding=down&factor=100") == {"x": 199, "y": 50}
    plain, cut = (open_encoder(f"impacts:{path}{options}").identity.fingerprint for options in ("", "?rounding=down"))
    assert plain != cut
    with pytest.raises(UsageError, match="rounding="):
        open_encoder(f"impacts:{path}?factor=100")


@pytest.mark.parametrize(
    "line", ['{"id": "x"}', "not json", '{"id": "x", "vector": {"t": -1}}', '{"id": "x", "vector": {"t": "a"}}']
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(LINES[0]) + "\n" + line + "\n", "utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        open_encoder(f"impacts:{path}")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="impacts:PATH"):
        open_encoder(f"impacts:{tmp_path / 'nothing'}")
    path = tmp_path / "v.jsonl"
    path.write_text(json.dumps(LINES[0]) + "\n", "utf-8")
    encoder = open_encoder(f"impacts:{path}")
    with pytest.raises(DataError, match="no vectors for 1 documents: 'z'"):
        encoder.vectors_of(["z"])
    with pytest.raises(UsageError, match="no"):
        encoder.encode_passages([Passage("", "text")])
    path.write_text((json.dumps(LINES[0]) + "\n") * 2, "utf-8")
    with pytest.raises(DataError, match="unique"):
        open_encoder(f"impacts:{path}")
