"""`verify` finds a damaged, truncated or missing byte wherever it is."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.errors import CorruptIndexError, IndexDataError, IndexVersionError, MissingResourceError
from tamis.events import Advanced, Event, Finished, Started
from tamis.indexer import jobs
from tamis.indexer.layout import LAYOUT, format_text, parse_manifest
from tamis.indexer.verify import verify_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_documents: Callable[..., Any]) -> Iterator[Path]:
    """An index with every kind of file: several segments, a row table, deletion bitmaps."""
    path = tmp_path_factory.mktemp("verify") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "CHUNK_DOCUMENTS", 40)
        with tamis.Index.create(path, filterable=("year",)) as index:
            index.add(make_documents(50))
            index.delete(["d1"])
            index.compact()
            index.add(make_documents(45, seed=2, prefix="e"))
            index.delete(["d2", "e3"])
    return path


def manifest_file(folder: Path) -> Path:
    (path,) = (folder / "manifests").iterdir()
    return path


def named_files(folder: Path) -> list[str]:
    path = manifest_file(folder)
    return sorted(parse_manifest(path.read_bytes(), path).files)


def flip(path: Path, offset: int, mask: int = 1) -> None:
    with path.open("r+b") as handle:
        handle.seek(offset)
        value = handle.read(1)[0]
        handle.seek(offset)
        handle.write(bytes([value ^ mask]))


def test_a_whole_index_has_no_problems(folder: Path) -> None:
    report = verify_index(folder)
    assert report.ok
    assert report.problems == ()
    assert report.files == len(named_files(folder))
    assert report.bytes == sum((folder / name).stat().st_size for name in named_files(folder))
    assert verify_index(folder, quick=True).ok
    kinds = {name.split("/")[0] for name in named_files(folder)}
    assert kinds == {"segments", "deletes", "lucene", "parts"}
    assert {Path(name).name for name in named_files(folder)} >= {"docs.arrow", "layout.json", "rows.npy", "id_hash.npy"}


def test_every_file_on_disk_is_named(folder: Path) -> None:
    on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    rest = {"FORMAT", "LOCK", "lucene/write.lock", str(manifest_file(folder).relative_to(folder))}
    assert on_disk == set(named_files(folder)) | rest


def test_a_flipped_byte_in_any_named_file_is_found(folder: Path) -> None:
    rng = random.Random(20)
    for name in named_files(folder):
        path = folder / name
        size = path.stat().st_size
        for offset in {0, size - 1, rng.randrange(size)}:
            mask = 1 << rng.randrange(8)
            flip(path, offset, mask)
            report = verify_index(folder)
            flip(path, offset, mask)
            assert report.problems == (f"{path} is damaged: its SHA-256 differs from the manifest's",), (name, offset)
    assert verify_index(folder).ok


@pytest.mark.parametrize("quick", [False, True])
def test_a_truncated_grown_or_missing_file_is_found(folder: Path, quick: bool) -> None:
    for name in named_files(folder):
        path = folder / name
        whole = path.read_bytes()
        for left in (whole[:-1], b"", whole + b"x"):
            path.write_bytes(left)
            (problem,) = verify_index(folder, quick=quick).problems
            assert problem == f"{path} has {len(left):,} bytes, the manifest says {len(whole):,}"
        path.unlink()
        assert verify_index(folder, quick=quick).problems == (f"{path} is missing",)
        path.write_bytes(whole)
    assert verify_index(folder).ok


def test_a_flipped_byte_anywhere_in_format_is_found(folder: Path) -> None:
    path = folder / "FORMAT"
    whole = path.read_bytes()
    for offset in range(len(whole)):
        for mask in (0x01, 0x80):
            flip(path, offset, mask)
            try:
                report = verify_index(folder)
                assert report.problems[0].startswith(f"{path} is damaged"), offset
                assert len(report.problems) == 1
                with pytest.raises(CorruptIndexError, match="FORMAT is damaged"):
                    tamis.open(folder)
            finally:
                path.write_bytes(whole)
    for left in (whole[:-1], b"", whole + b"\n"):
        path.write_bytes(left)
        assert "is damaged" in verify_index(folder).problems[0]
    path.unlink()
    assert "holds no FORMAT" in verify_index(folder).problems[0]
    path.write_bytes(whole)


def test_a_flipped_byte_anywhere_in_a_manifest_is_found(folder: Path) -> None:
    path = manifest_file(folder)
    whole = path.read_bytes()
    rng = random.Random(4)
    for offset in range(len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << rng.randrange(8)
        with pytest.raises(CorruptIndexError, match="is damaged"):
            parse_manifest(bytes(damaged), path)
    for left in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\n", b"\xff" + whole, b"null\n", b"[]", b"{}"):
        path.write_bytes(left)
        report = verify_index(folder)
        assert report.generation is None
        assert len(report.problems) == 1
        assert str(path) in report.problems[0]
        with pytest.raises(CorruptIndexError, match=path.name):
            tamis.open(folder)
    path.write_bytes(whole)


def test_an_older_damaged_manifest_is_found(folder: Path) -> None:
    path = manifest_file(folder)
    older = path.with_name("000000000001.json")
    older.write_bytes(path.read_bytes()[:-5])
    report = verify_index(folder)
    older.write_bytes(path.read_bytes())
    misnamed = verify_index(folder)
    older.unlink()
    assert report.generation is not None
    assert len(report.problems) == 1
    assert str(older) in report.problems[0]
    assert misnamed.problems == (f"{older} calls itself generation {report.generation}",)


def test_no_generation_and_no_index(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "manifests")
    assert verify_index(copy).problems == (f"{copy} holds no generation",)
    with pytest.raises(IndexDataError, match="holds no generation"):
        tamis.open(copy)
    with pytest.raises(MissingResourceError, match="no index at"):
        verify_index(tmp_path / "absent")
    (tmp_path / "other").mkdir()
    with pytest.raises(IndexDataError, match="is not a Tamis index"):
        verify_index(tmp_path / "other")
    (tmp_path / "file").write_text("x")
    with pytest.raises(IndexDataError, match="is not a Tamis index"):
        verify_index(tmp_path / "file")


def test_a_newer_layout_names_the_way_out(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "FORMAT").write_text(format_text(LAYOUT + 1))
    for use in (tamis.open, verify_index):  # what a newer layout holds cannot be checked
        with pytest.raises(IndexVersionError, match=r"index layout 2; this Tamis reads up to 1: upgrade"):
            use(copy)


def test_opening_finds_missing_and_truncated_files_at_once(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in named_files(copy):
        path = copy / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(CorruptIndexError, match="run tamis verify"):
            tamis.open(copy)
        path.unlink()
        with pytest.raises(CorruptIndexError, match="is missing; run tamis verify"):
            tamis.open(copy)
        path.write_bytes(whole)
    with tamis.open(copy) as index:
        assert index.search("w1")


def test_a_wrong_row_count_is_found(folder: Path, tmp_path: Path) -> None:
    import dataclasses

    from tamis.indexer.layout import publish_manifest

    copy = shutil.copytree(folder, tmp_path / "copy")
    path = manifest_file(copy)
    manifest = parse_manifest(path.read_bytes(), path)
    first, *rest = manifest.segments
    wrong = dataclasses.replace(first, rows=first.rows + 1, deleted=first.deleted + 1)
    path.unlink()
    publish_manifest(copy, dataclasses.replace(manifest, segments=(wrong, *rest)))
    problems = verify_index(copy).problems
    assert any(f"holds {first.rows} rows, the manifest says {first.rows + 1}" in problem for problem in problems)
    assert any("deletion bitmap" in problem for problem in problems)


def test_progress_is_told(folder: Path) -> None:
    events: list[Event] = []
    report = verify_index(folder, listener=events.append)
    assert events[0] == Started("verify", report.files, "files")
    assert events.count(Advanced("verify")) == report.files
    assert events[-1] == Finished("verify")
