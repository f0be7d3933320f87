"""A copy of a generation: the same answers under another identity, with hard links and without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tamis
from tamis.indexer.copying import copy_generation


@pytest.mark.parametrize("links", [True, False])
def test_the_copy_answers_as_the_first_and_lives_alone(
    tmp_path: Path, make_documents, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _refuse_unless_manifest(os.link))
    with tamis.Index.create(tmp_path / "one") as one:
        one.add(make_documents(50))
        one.delete(["d3"])
        copied = copy_generation(one.path, one.manifest, tmp_path / "two")
        assert copied.index != one.manifest.index
        assert copied.generation == one.generation
        name = next(name for name in one.manifest.files if name.endswith("docs.arrow"))
        assert (tmp_path / "one" / name).samefile(tmp_path / "two" / name) == links
        with tamis.open(tmp_path / "two") as two:
            assert two.verify().ok
            mine, theirs = (each.rank({"q": "w1 w5"}, 20) for each in (two, one))
            assert mine.rows.tolist() == theirs.rows.tolist()
            assert mine.scores.tolist() == theirs.scores.tolist()
            two.delete([f"d{i}" for i in range(20, 40)])
            two.compact()
            two.add([{"id": "new", "text": "w1"}])
            assert two.verify().ok
        assert one.verify().ok
        assert len(one) == 49


def _refuse_unless_manifest(link):
    def refuse(source, target, *args, **options):
        if "manifests" in str(target):
            return link(source, target, *args, **options)
        raise OSError(18, "cross-device link")

    return refuse
