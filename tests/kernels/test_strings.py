"""Strings out of a mapped file."""

from __future__ import annotations

import mmap
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamis.errors import CorruptIndexError
from tamis.kernels.strings import gather_strings


@pytest.fixture(params=["native", "python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr("tamis.kernels.strings.native", lambda: None)


def mapped(path: Path, data: bytes) -> mmap.mmap:
    path.write_bytes(data)
    with path.open("rb") as handle:
        return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


@pytest.mark.usefixtures("way")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1), order=st.randoms())
def test_any_texts_in_any_order(tmp_path: Path, texts: list[str], order: Any) -> None:
    parts = [text.encode() for text in texts]
    starts = np.fromiter(accumulate(map(len, parts), initial=1), np.int64)
    wanted = [order.randrange(len(texts)) for _ in range(20)]
    data = mapped(tmp_path / "data", b"." + b"".join(parts))
    assert gather_strings(data, starts[:-1][wanted], starts[1:][wanted]) == [texts[i] for i in wanted]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("begin", "end"), [(-1, 2), (3, 2), (0, 5), (1 << 40, 1 << 41), (2, 3)])
def test_what_is_no_string_is_refused(tmp_path: Path, begin: int, end: int) -> None:
    data = mapped(tmp_path / "data", b"ab\xffc")
    with pytest.raises(CorruptIndexError, match="damaged strings"):
        gather_strings(data, np.array([begin]), np.array([end]))
