"""Strings out of mapped files."""

from __future__ import annotations

import mmap
import struct
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamis.errors import CorruptIndexError
from tamis.kernels.strings import StringBlock, StringColumn


@pytest.fixture(params=["native", "python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr("tamis.kernels.strings.native", lambda: None)


def mapped(path: Path, data: bytes) -> mmap.mmap:
    path.write_bytes(data)
    with path.open("rb") as handle:
        return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


def block(path: Path, texts: list[str]) -> StringBlock:
    """One file: a stray byte, the text, the offsets at whatever place follows."""
    parts = [text.encode() for text in texts]
    bounds = list(accumulate(map(len, parts), initial=0))
    data = b"." + b"".join(parts)
    return StringBlock(
        mapped(path, data + struct.pack(f"<{len(bounds)}i", *bounds) + b"rest"), len(data), 1, len(texts)
    )


@pytest.mark.usefixtures("way")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lists=st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), min_size=1, max_size=4),
    order=st.randoms(),
)
def test_any_texts_of_any_blocks_in_any_order(tmp_path: Path, lists: list[list[str]], order: Any) -> None:
    column = StringColumn([block(tmp_path / str(number), texts) for number, texts in enumerate(lists)])
    whole = [text for texts in lists for text in texts]
    assert len(column) == len(whole)
    wanted = [order.randrange(len(whole)) for _ in range(70)] if whole else []
    assert column.take(np.array(wanted, np.int64)) == [whole[i] for i in wanted]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("position", [-1, 3, 1 << 40])
def test_a_position_outside_is_refused(tmp_path: Path, position: int) -> None:
    column = StringColumn([block(tmp_path / "a", ["x", "y"]), block(tmp_path / "b", ["z"])])
    with pytest.raises(IndexError, match=str(position)):
        column.take(np.array([position]))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("offsets", [(-1, 2), (3, 2), (0, 200), (2, 3)])
def test_what_is_no_string_is_refused(tmp_path: Path, offsets: tuple[int, int]) -> None:
    data = mapped(tmp_path / "data", struct.pack("<ii", *offsets) + b"ab\xffc")
    with pytest.raises(CorruptIndexError, match="damaged strings"):
        StringColumn([StringBlock(data, 0, 8, 1)]).take(np.array([0]))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("offsets_at", "data_at", "rows"), [(-4, 0, 1), (8, 0, 1), (0, 13, 1), (0, -1, 1), (0, 0, 3)])
def test_a_block_outside_its_file_is_refused(tmp_path: Path, offsets_at: int, data_at: int, rows: int) -> None:
    data = mapped(tmp_path / "data", b"twelve bytes")
    with pytest.raises(CorruptIndexError, match="leaves the data"):
        StringColumn([StringBlock(data, offsets_at, data_at, rows)])
