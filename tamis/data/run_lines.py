"""The lines of a run file as columns, checked one by one."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.data.sources import lines
from tamis.errors import BadRecordError

_TREC, _MSMARCO = 6, 3


@dataclass(frozen=True, slots=True)
class RunLines:
    """A run in file order, one entry a line in each array.

    Attributes:
        query_ids: the queries, in order of first occurrence.
        queries: int64, position in `query_ids`.
        documents: int64, number of the document (see `read_lines`).
        ranks: int64, the rank column.
        scores: float64, finite.
    """

    query_ids: tuple[str, ...]
    queries: NDArray[np.int64]
    documents: NDArray[np.int64]
    ranks: NDArray[np.int64]
    scores: NDArray[np.float64]


def read_lines(path: Path, numbering: dict[bytes, int]) -> RunLines:
    """Read a run file; the number of columns of its first line tells TREC (6) from MS MARCO (3).

    Args:
        path: the file, plain or gzipped.
        numbering: documents as UTF-8 → number; new ones are added, so that several runs share one numbering.

    Raises:
        BadRecordError: a malformed line, a score that is not finite, or a document twice for a query.
    """
    query_numbers: dict[bytes, int] = {}
    queries, documents, ranks, scores, numbers = array("q"), array("q"), array("q"), array("d"), array("q")
    width = 0
    for number, line in lines(path):
        columns = line.split()
        if len(columns) != width:
            if not columns:
                continue
            if width or len(columns) not in (_TREC, _MSMARCO):
                expected = (
                    f"{width}, as in the lines before"
                    if width
                    else "6 (query Q0 document rank score tag) or 3 (query document rank)"
                )
                raise BadRecordError(f"{len(columns)} columns, expected {expected}", path, number)
            width = len(columns)
        try:
            if width == _TREC:
                query, _, document, rank, score, _ = columns
                ranks.append(int(rank))
                scores.append(float(score))
            else:
                query, document, rank = columns
                ranks.append(int(rank))
                scores.append(-ranks[-1])
        except (ValueError, OverflowError):
            raise BadRecordError(_number_problem(columns), path, number) from None
        known = query_numbers.get(query)
        queries.append(_new_number(query, query_numbers, path, number) if known is None else known)
        known = numbering.get(document)
        documents.append(_new_number(document, numbering, path, number) if known is None else known)
        numbers.append(number)
    read = RunLines(
        tuple(query.decode() for query in query_numbers),
        _as_array(queries),
        _as_array(documents),
        _as_array(ranks),
        np.frombuffer(scores, np.float64) if scores else np.zeros(0),
    )
    _check(read, path, numbers, numbering)
    return read


def _as_array(values: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(values, np.int64) if values else np.zeros(0, np.int64)


def _new_number(name: bytes, numbering: dict[bytes, int], path: Path, line: int) -> int:
    try:
        name.decode()
    except UnicodeDecodeError:
        raise BadRecordError(f"id {name!r} is not valid UTF-8; convert the file to UTF-8", path, line) from None
    number = numbering[name] = len(numbering)
    return number


def _number_problem(columns: list[bytes]) -> str:
    rank = columns[3] if len(columns) == _TREC else columns[2]
    try:
        array("q").append(int(rank))
    except (ValueError, OverflowError):
        return f"rank {rank.decode('utf-8', 'replace')!r} is not a whole number"
    return f"score {columns[4].decode('utf-8', 'replace')!r} is not a number"


def _check(read: RunLines, path: Path, numbers: array[int], numbering: dict[bytes, int]) -> None:
    """Check what only the whole run shows: finite scores, no document twice for a query."""
    bad = np.flatnonzero(~np.isfinite(read.scores))
    if len(bad):
        raise BadRecordError(f"score {read.scores[bad[0]]} is not a finite number", path, numbers[int(bad[0])])
    # Stable, so that of equal pairs the later line is the repeated one.
    order = np.lexsort((read.documents, read.queries))
    same = (np.diff(read.queries[order]) == 0) & (np.diff(read.documents[order]) == 0)
    if same.any():
        again = int(order[1:][same].min())
        query = read.query_ids[int(read.queries[again])]
        document = next(name for name, number in numbering.items() if number == read.documents[again]).decode()
        raise BadRecordError(
            f"document {document!r} stands twice in the results of query {query!r}", path, numbers[again]
        )
