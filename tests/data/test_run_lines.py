"""tamis.data.run_lines: malformed runs, each named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.data.run_lines import read_lines
from tamis.errors import BadRecordError

GOOD = b"q Q0 a 1 2.5 t\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"q a 1 2.5\n", r"run:1: 4 columns, expected 6 \(query Q0 document rank score tag\) or 3"),
        (GOOD + b"q Q0 b 2 2.0\n", r"run:2: 5 columns, expected 6, as in the lines before"),
        (GOOD + b"q Q0 b 2 2.0 two words\n", r"run:2: 7 columns"),
        (GOOD + b"\n" + b"q Q0 b 2 high t\n", r"run:3: score 'high' is not a number"),
        (GOOD + b"q Q0 b 2 nan t\n", r"run:2: score nan is not a finite number"),
        (GOOD + b"q Q0 b 2 -inf t\n", r"run:2: score -inf is not a finite number"),
        (GOOD + b"q Q0 b 2 1e999 t\n", r"run:2: score inf is not a finite number"),
        (GOOD + b"q Q0 b second 2 t\n", r"run:2: rank 'second' is not a whole number"),
        (GOOD + b"q Q0 b 99999999999999999999 2 t\n", r"run:2: rank '99999999999999999999' is not a whole number"),
        (
            GOOD + b"p Q0 a 1 1 t\nq Q0 b 2 2 t\nq Q0 a 3 1 t\n",
            r"run:4: document 'a' stands twice in the results of query 'q'",
        ),
        (GOOD + b"q Q0 \xff 2 2 t\n", r"run:2: id b'\\xff' is not valid UTF-8"),
        (b"q\ta\t1\nq\tb\tx\n", r"run:2: rank 'x' is not a whole number"),
    ],
)
def test_malformed_lines(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run"
    path.write_bytes(content)
    with pytest.raises(BadRecordError, match=message):
        read_lines(path, {})


def test_documents_share_a_numbering(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(GOOD + b"p Q0 b 1 1 t\n")
    (tmp_path / "y").write_bytes(b"p c 1\np a 2\n")
    numbering: dict[bytes, int] = {}
    first, second = read_lines(tmp_path / "x", numbering), read_lines(tmp_path / "y", numbering)
    assert numbering == {b"a": 0, b"b": 1, b"c": 2}
    assert (first.query_ids, first.queries.tolist(), first.documents.tolist()) == (("q", "p"), [0, 1], [0, 1])
    assert (second.documents.tolist(), second.ranks.tolist(), second.scores.tolist()) == ([2, 0], [1, 2], [-1.0, -2.0])
