"""Reading a corpus for `index` and `add`: what identifies it, how long it is, and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.errors import UnknownNameError
from tamis.events import Advanced, Finished, Listener, Started

if TYPE_CHECKING:
    from tamis.cli.session import Session
    from tamis.data.corpus import Corpus, OnBadLine
    from tamis.data.document import Document
    from tamis.engine import Index
    from tamis.indexer.writer import AddReport

_STEP = 500
_BLOCK = 1 << 20
_LINE_FORMATS = (".jsonl", ".ndjson", ".tsv")
_BAD_LINE: dict[str, OnBadLine] = {"error": "error", "skip": "skip"}


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus about to be taken in.

    Attributes:
        corpus: the documents.
        fingerprint: what makes the job resumable: the corpus's own, and how it is read.
        total: how many documents to expect, None where that is not known beforehand.
    """

    corpus: Corpus
    fingerprint: dict[str, Any]
    total: int | None

    def documents(self, listener: Listener) -> Iterator[Document]:
        """Yield the documents, telling `listener` of the progress."""
        listener(Started("read", self.total, "docs"))
        count = 0
        for count, document in enumerate(self.corpus, 1):
            yield document
            if count % _STEP == 0:
                listener(Advanced("read", _STEP))
        listener(Advanced("read", count % _STEP))
        listener(Finished("read"))


def open_source(name: str, *, id_field: str | None, on_bad_line: str) -> Source:
    """Open the corpus that the user named.

    Raises:
        UnknownNameError: `on_bad_line` is neither ``error`` nor ``skip``.
        TamisError: as `tamis.data.open_corpus`.
    """
    from tamis.data.corpus import open_corpus

    if on_bad_line not in _BAD_LINE:
        raise UnknownNameError("value of --on-bad-line", on_bad_line, _BAD_LINE)
    corpus = open_corpus(name, on_bad_line=_BAD_LINE[on_bad_line], id_field=id_field)
    total = corpus.count()
    if total is None:
        total = _count_lines(Path(name))
    return Source(corpus, {**corpus.fingerprint(), "on_bad_line": on_bad_line}, total)


def _count_lines(path: Path) -> int | None:
    """Count the lines of a plain file that holds a document a line: cheap beside the hash of its bytes."""
    if path.is_dir():
        path = path / "corpus.jsonl"
    if path.suffix.lower() not in _LINE_FORMATS or not path.is_file():
        return None
    count, block = 0, b""
    with path.open("rb") as handle:
        while part := handle.read(_BLOCK):
            block = part
            count += part.count(b"\n")
    return count + (not block.endswith(b"\n"))


def report_added(session: Session, index: Index, source: Source, report: AddReport) -> None:
    """Tell what an add did, and what to type next."""
    read = source.corpus.report
    size = index.inspect()["bytes"]["total"]
    seconds = session.seconds
    rate = report.documents / seconds if seconds else 0.0
    if read.skipped:
        session.warn("skipped-lines", f"{_lines(read.skipped)} skipped, for example {read.problems[0]}")
    session.resolved.update(index=index.manifest.index, generation=report.generation, corpus=source.fingerprint)
    session.artifacts["index"] = str(index.path)
    session.metrics.update(
        documents=report.documents,
        rows=report.rows,
        empty=report.empty,
        duplicates=report.duplicates,
        duplicate_ids=list(report.duplicate_ids),
        replaced_rows=report.replaced,
        blocked=report.blocked,
        skipped_lines=read.skipped,
        skipped_examples=list(read.problems),
        bytes=size,
        seconds=round(seconds, 3),
        documents_per_second=round(rate, 1),
        unchanged=report.unchanged,
    )
    if report.unchanged:
        session.note(f"{index.path} holds {source.corpus.name} already (generation {report.generation}): nothing to do")
    else:
        session.note(f"{index.path}: generation {report.generation}")
        for label, text in _lines_of(report, read.skipped, size, seconds, rate):
            session.note(f"  {label:<11} {text}")
    session.note(f'next: tamis search {shlex.quote(str(index.path))} "your query"')


def _lines_of(report: AddReport, skipped: int, size: int, seconds: float, rate: float) -> Iterator[tuple[str, str]]:
    from tamis.cli.drawing import format_bytes

    yield "documents", f"{report.documents:,}" + (f", {report.empty:,} of them empty" if report.empty else "")
    yield "rows", f"{report.rows:,}"
    if report.replaced:
        yield "replaced", f"{report.replaced:,} rows of older versions"
    if report.blocked:
        yield "left out", f"{report.blocked:,} that were pruned; tamis restore lets them in"
    if report.duplicates:
        examples = ", ".join(map(repr, report.duplicate_ids))
        yield "duplicates", f"{report.duplicates:,} left out, the first of each id is kept: {examples}"
    if skipped:
        yield "skipped", _lines(skipped)
    yield "size", f"{format_bytes(size)} in all"
    yield "time", f"{seconds:.1f} s, {rate:,.0f} documents/s"


def _lines(count: int) -> str:
    return f"{count:,} malformed line{'' if count == 1 else 's'}"
