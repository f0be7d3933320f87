"""Run files: a ranking as lines of text that any evaluator reads, and back.

TREC: ``query Q0 document rank score tag``; MS MARCO: ``query TAB document TAB rank``. Ranks count from 1. Evaluators sort by
score and break ties each in its own way, some in single precision, so a TREC run is written strictly decreasing in float32: a
score that is not below the one written before it is lowered to the next float32 below that. Every other score is written as
the shortest decimal that reads back as the same float64. The exact value of a lowered score, and the queries that have no
line, are kept in the sidecar (`tamis.data.sidecar`), so that writing and reading back gives the same ranking.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tamis.data.run_lines import RunLines, read_lines
from tamis.data.sidecar import RunFormat, Sidecar, read_sidecar, sidecar_path, write_sidecar
from tamis.data.sources import id_problem
from tamis.errors import DataError, MissingResourceError, OutputExistsError, UsageError
from tamis.events import Listener, Warned, ignore
from tamis.files import atomic_write, sha256_file
from tamis.ranking import IdSpace, Ranking, Scores

_GZIP_LEVEL = 4  # twice as fast as the default for a few per cent of size


def write_run(
    ranking: Ranking,
    path: str | Path,
    *,
    tag: str = "tamis",
    format: RunFormat = "trec",  # noqa: A002 - the word that users see
    manifest: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a ranking as a run file, gzipped where `path` ends in ``.gz``, and its sidecar.

    Args:
        ranking: what to write; its storage order is the rank order.
        path: the run file; its folder must exist.
        tag: the last column of a TREC run.
        format: ``trec``, or ``msmarco``, which holds no scores.
        manifest: JSON values for the sidecar: command, versions, index generation, pipeline, timings.
        overwrite: whether an existing run and sidecar may be replaced.

    Returns:
        The path of the sidecar.

    Raises:
        OutputExistsError: the run or its sidecar exists and `overwrite` is false; nothing is written.
        MissingResourceError: there is no such folder.
        UsageError: the tag or format cannot be written.
        DataError: an id with white space, or a score beyond single precision; nothing is written.
    """
    path = Path(path)
    if format not in ("trec", "msmarco"):
        raise UsageError(f"run format {format!r}: must be 'trec' or 'msmarco'")
    if tag.split() != [tag]:
        raise UsageError(f"run tag {tag!r}: a tag must not be empty or hold white space")
    if not path.parent.is_dir():
        raise MissingResourceError(f"cannot write run {path}: there is no folder {path.parent}; make it first")
    beside = sidecar_path(path)
    for target in (path, beside):
        if not overwrite and target.exists():
            raise OutputExistsError(f"{target} exists: choose another name, or pass --force to overwrite it")
    lowered: list[tuple[int, int, float]] = []
    with atomic_write(path, overwrite=overwrite) as raw, _compressed(raw, path) as handle:
        if format == "trec":
            ranks = [f" {rank} " for rank in range(1, _longest(ranking) + 1)]
            for query, documents, scores, first in _columns(ranking):
                texts, changed = _score_texts(query, scores)
                lowered += _stretches(changed, scores, first)
                start, end = f"{query} Q0 ", f" {tag}\n"
                rows = zip(documents, ranks, texts, strict=False)  # ranks reach to the longest list
                handle.write(_encoded(query, [f"{start}{d}{r}{s}{end}" for d, r, s in rows]))
        else:
            for query, documents, _, _ in _columns(ranking):
                handle.write(_encoded(query, [f"{query}\t{d}\t{rank}\n" for rank, d in enumerate(documents, 1)]))
    lengths = np.diff(ranking.offsets)
    sidecar = Sidecar(
        sha256=sha256_file(path),
        lines=len(ranking.rows),
        queries=len(ranking),
        format=format,
        tag=tag,
        empty=tuple((i, ranking.query_ids[i]) for i in np.flatnonzero(lengths == 0).tolist()),
        partial=tuple(ranking.query_ids[i] for i in np.flatnonzero(ranking.partial).tolist()),
        lowered=tuple(lowered),
        manifest=manifest or {},
    )
    write_sidecar(path, sidecar, overwrite=overwrite)
    return beside


def read_run(path: str | Path, *, exact: bool = True, listener: Listener = ignore) -> Ranking:
    """Read one run over the space of its own document ids. See `read_runs`."""
    return _rankings([Path(path)], exact, listener)[0]


def read_runs(paths: Iterable[str | Path], *, exact: bool = True, listener: Listener = ignore) -> dict[str, Ranking]:
    """Read runs over one shared space of document ids, so that they can be fused and compared.

    With a sidecar that belongs to it a run reads back as it was written: queries without results, exact scores, partial flags.
    Any other run is taken as it stands: queries in order of first occurrence (their lines may be scattered), lines by score
    descending, equal scores by the rank column, then by line. How an evaluator would break those ties is its business. The form
    is told from the number of columns of the first line. A line of an MS MARCO run, which has no score, scores minus its rank.

    Args:
        paths: the files, plain or gzipped.
        exact: restore from the sidecar the scores that were lowered in the file. An evaluation takes the file's own scores
            (False), which are strictly decreasing, so that it sees what any other evaluator would.
        listener: is warned (code ``sidecar-mismatch``) of a sidecar that belongs to other contents.

    Returns:
        The rankings by name: the file's name without ``.gz`` and a run's usual endings, or the path as given where two files
        share a name.

    Raises:
        MissingResourceError: there is no such file.
        BadRecordError: a malformed line, a score that is not finite, or a document twice for a query; names file and line.
        DataError: a run without lines, where no sidecar says that this is meant.
        UsageError: a path given twice.
    """
    given = [Path(path) for path in paths]
    names = [run_name(path) for path in given]
    names = [str(path) if names.count(name) > 1 else name for path, name in zip(given, names, strict=True)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"run {twice} is given twice")
    return dict(zip(names, _rankings(given, exact, listener), strict=True))


def run_name(path: str | Path) -> str:
    """Return what a table calls a run: its file name without ``.gz`` and ``.run``, ``.trec``, ``.txt``, ``.tsv`` or ``.res``."""
    name = Path(path).name.removesuffix(".gz")
    for suffix in (".run", ".trec", ".txt", ".tsv", ".res"):
        if name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix)
    return name


def lower_scores(scores: Scores) -> NDArray[np.float32]:
    """Return the float32 values that one query's scores are written as: strictly decreasing, lowered where they must be.

    In the order-preserving mapping of float32 to integers the rule "not below the value before it, so one step below that"
    reads w[i] = min(s[i], w[i-1] - 1), whose solution is a running minimum.
    """
    with np.errstate(over="ignore"):
        bits = scores.astype(np.float32).view(np.int32).astype(np.int64)
    keys = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    position = np.arange(len(scores))
    keys = np.minimum.accumulate(keys + position) - position
    bits = np.where(keys < 0, -keys | 0x80000000, keys)
    return bits.astype(np.uint32).view(np.float32)


def _score_texts(query: str, scores: Scores) -> tuple[list[str], NDArray[np.intp]]:
    """Return the score column of one query, and the positions of the lines whose score was lowered."""
    written = lower_scores(scores)
    if not np.isfinite(written).all():
        bad = int(np.flatnonzero(~np.isfinite(written))[0])
        raise DataError(
            f"query {query!r}: score {scores[bad]} cannot be written: a run's scores are read in single precision, whose "
            f"limit is {np.finfo(np.float32).max}; rescale them"
        )
    texts = list(map(repr, scores.tolist()))
    changed = np.flatnonzero(written != scores.astype(np.float32))
    for position in changed.tolist():
        texts[position] = str(written[position])
    return texts, changed


def _stretches(changed: NDArray[np.intp], scores: Scores, first: int) -> Iterator[tuple[int, int, float]]:
    """Group the lowered lines of one query into stretches of neighbours with the same exact score."""
    if not len(changed):
        return
    exact = scores[changed]
    # Scores are compared by their bits, so that 0.0 and -0.0 both come back.
    starts = np.flatnonzero((np.diff(changed, prepend=-2) != 1) | (np.diff(exact.view(np.int64), prepend=0) != 0))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(changed)], strict=True):
        yield first + int(changed[start]), end - start, float(exact[start])


def _columns(ranking: Ranking) -> Iterator[tuple[str, list[str], Scores, int]]:
    """Yield (query id, document ids, scores, number of lines before) for every query that has results."""
    first = 0
    for query, rows, scores in ranking.lists():
        if problem := id_problem("query", query):
            raise DataError(f"{problem}; it cannot be written to a run")
        if len(rows):
            documents = ranking.space.ids(rows)
            if len(" ".join(documents).split()) != len(documents):
                raise DataError(
                    f"{next(filter(None, (id_problem('document', d) for d in documents)))}; it cannot be written to a run"
                )
            yield query, documents, scores, first
            first += len(rows)


def _encoded(query: str, lines: list[str]) -> bytes:
    try:
        return "".join(lines).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"query {query!r}: a document id holds a lone surrogate, which no text file can") from error


def _longest(ranking: Ranking) -> int:
    return int(np.diff(ranking.offsets).max(initial=0))


@contextmanager
def _compressed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Compress what is written where the name asks for it; the same content always gives the same bytes."""
    if path.suffix != ".gz":
        yield raw
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=_GZIP_LEVEL, mtime=0) as zipped:
        yield zipped


def _rankings(paths: Sequence[Path], exact: bool, listener: Listener) -> list[Ranking]:
    """Read runs over the shared space of all their ids."""
    documents: dict[bytes, int] = {}
    read: list[tuple[RunLines, Sidecar | None]] = []
    for path in paths:
        if not path.is_file():
            raise MissingResourceError(f"there is no run file {path}")
        sidecar = read_sidecar(path)
        if sidecar is None and sidecar_path(path).exists():
            listener(
                Warned("sidecar-mismatch", f"{sidecar_path(path)} belongs to another content of {path}: it is not used")
            )
        lines = read_lines(path, documents)
        if not len(lines.scores) and not (sidecar and sidecar.queries):
            raise DataError(f"run {path} has no lines")
        read.append((lines, sidecar))
    ids = [document.decode() for document in documents]
    space = IdSpace(ids)
    rows = space.rows(ids)
    return [
        _ranking(path, lines, sidecar, space, rows, exact=exact)
        for path, (lines, sidecar) in zip(paths, read, strict=True)
    ]


def _ranking(
    path: Path, lines: RunLines, sidecar: Sidecar | None, space: IdSpace, rows: NDArray[np.int64], *, exact: bool
) -> Ranking:
    order = np.lexsort((lines.ranks, -lines.scores, lines.queries))
    scores = lines.scores
    if sidecar is not None:
        fits = len(lines.query_ids) + len(sidecar.empty) == sidecar.queries and sidecar.lines == len(scores)
        if not fits or any(first + count > len(scores) for first, count, _ in sidecar.lowered):
            raise DataError(f"{sidecar_path(path)} is damaged: its counts do not fit the run; delete it")
        scores = scores.copy()
        if exact:
            for first, count, score in sidecar.lowered:
                scores[first : first + count] = score
    lengths = np.bincount(lines.queries, minlength=len(lines.query_ids)).tolist()
    query_ids = list(lines.query_ids)
    for position, query in sidecar.empty if sidecar else ():
        query_ids.insert(position, query)
        lengths.insert(position, 0)
    offsets = np.zeros(len(query_ids) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    partial = set(sidecar.partial if sidecar else ())
    return Ranking(
        space,
        tuple(query_ids),
        offsets,
        rows[lines.documents[order]],
        scores[order],
        np.fromiter((query in partial for query in query_ids), np.bool_, len(query_ids)),
    )
