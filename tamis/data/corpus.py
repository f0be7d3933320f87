"""Corpora: anything that yields documents, read as a stream and as often as wanted.

`open_corpus` turns what a user names into a `Corpus`: a BEIR folder, JSONL, MS MARCO TSV or TREC SGML files (plain or
gzipped), a folder of such files, or an ir_datasets id. A path that exists wins over a dataset of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from tamis.data.document import Document
from tamis.data.sources import beir_file, file_fingerprint, head, plain_name
from tamis.errors import BadRecordError, DataError, MissingResourceError, UsageError

OnBadLine = Literal["error", "skip"]
Format = Literal["jsonl", "tsv", "trec"]
Reject = Callable[[str, int], None]
"""Told (what is wrong, line number) of every malformed record; raises or counts it."""

ACCEPTED = (
    "a BEIR folder (corpus.jsonl[.gz] inside), .jsonl, MS MARCO .tsv or TREC SGML files (plain or .gz), a folder of them, "
    "or an ir_datasets id such as beir/scifact"
)
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".tsv": "tsv",
    ".trec": "trec",
    ".sgml": "trec",
    ".sgm": "trec",
}
_PROBLEMS_KEPT = 5


@dataclass(slots=True)
class ReadReport:
    """What one pass over a corpus met. It starts afresh with every pass and is complete at its end.

    Attributes:
        documents: documents yielded so far.
        skipped: malformed records passed over (``on_bad_line="skip"``).
        problems: the first five of them, each naming file and line.
    """

    documents: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)

    def bad(self, error: BadRecordError, *, skip: bool) -> None:
        """Take note of a malformed record, or raise it where it is not to be skipped."""
        if not skip:
            raise error from None
        self.skipped += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            self.problems.append(str(error))


@runtime_checkable
class Corpus(Protocol):
    """A re-iterable stream of documents. One pass at a time: a pass resets the report."""

    @property
    def name(self) -> str:
        """How messages and manifests call the corpus; never an absolute path."""

    @property
    def report(self) -> ReadReport:
        """The current or last pass."""

    def __iter__(self) -> Iterator[Document]:
        """Start a pass."""

    def count(self) -> int | None:
        """Return the number of documents where it is known without reading, else None."""

    def fingerprint(self) -> dict[str, Any]:
        """Return JSON values that identify the documents: equal fingerprints promise equal passes."""


class FileCorpus:
    """Documents in one or more files, read in the given order.

    Args:
        files: the files, with the format of each.
        name: name for messages and manifests.
        on_bad_line: raise at a malformed record, or count it and go on.
        id_field: the JSON key that holds the id, instead of ``_id``, ``id`` or ``docid``.
    """

    def __init__(
        self,
        files: list[tuple[Path, Format]],
        name: str,
        *,
        on_bad_line: OnBadLine = "error",
        id_field: str | None = None,
    ) -> None:
        self._files, self._name = files, name
        self._skip, self._id_field = on_bad_line == "skip", id_field
        self._report = ReadReport()
        self._count: int | None = None

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return self._name

    @property
    def report(self) -> ReadReport:
        """The current or last pass."""
        return self._report

    def count(self) -> int | None:
        """Return the number of documents once a pass has ended, else None."""
        return self._count

    def fingerprint(self) -> dict[str, Any]:
        """Return names, sizes and hashes of the files, and what else decides the documents."""
        return {
            "kind": "files",
            "name": self._name,
            "files": [{**file_fingerprint(path), "format": form} for path, form in self._files],
            "id_field": self._id_field,
        }

    def __iter__(self) -> Iterator[Document]:
        """Start a pass.

        Raises:
            BadRecordError: a malformed record, unless they are skipped.
            DataError: the files hold no document, or a gzip file is damaged.
        """
        self._report = report = ReadReport()
        for path, form in self._files:
            for document in self._read(path, form, report):
                report.documents += 1
                yield document
        if not report.documents:
            where = self._files[0][0] if len(self._files) == 1 else self._files[0][0].parent
            found = (
                f"; all {report.skipped} records are malformed, first {report.problems[0]}" if report.skipped else ""
            )
            raise DataError(f"{where} holds no documents{found}")
        self._count = report.documents

    def _read(self, path: Path, form: Format, report: ReadReport) -> Iterator[Document]:
        def reject(problem: str, line: int) -> None:
            report.bad(BadRecordError(problem, path, line), skip=self._skip)

        if form == "jsonl":
            from tamis.data.jsonl import read_jsonl

            return read_jsonl(path, reject, self._id_field)
        if form == "tsv":
            from tamis.data.tsv import read_tsv

            return read_tsv(path, reject)
        from tamis.data.sgml import read_sgml

        return read_sgml(path, reject)


def open_corpus(source: str | Path, *, on_bad_line: OnBadLine = "error", id_field: str | None = None) -> Corpus:
    """Open a corpus for streaming; nothing but the head of a file is read yet.

    Args:
        source: a BEIR folder, a JSONL, MS MARCO TSV or TREC SGML file (plain or gzipped), a folder of such files (taken in
            name order), or an ir_datasets id.
        on_bad_line: ``error`` stops at the first malformed record; ``skip`` counts it in the corpus's `report`.
        id_field: the JSON key that holds the id, where it is none of ``_id``, ``id`` and ``docid`` (JSONL only).

    Raises:
        MissingResourceError: neither a path nor an ir_datasets id.
        DataError: an empty file, or a format that cannot be told.
        UsageError: `id_field` for a format that has no named fields.
    """
    if on_bad_line not in ("error", "skip"):
        raise UsageError(f"on_bad_line={on_bad_line!r}: must be 'error' or 'skip'")
    path = Path(source)
    if path.is_dir():
        files = _files_of(path)
    elif path.exists():
        files = [(path, _format_of(path))]
    else:
        from tamis.data.irds import DatasetCorpus, find_dataset

        dataset = find_dataset(str(source), "docs", ACCEPTED)
        if id_field:
            raise UsageError(f"id_field={id_field!r} is for JSONL files; an ir_datasets corpus states its ids")
        return DatasetCorpus(str(source), dataset, on_bad_line=on_bad_line)
    if id_field and any(form != "jsonl" for _, form in files):
        raise UsageError(f"id_field={id_field!r} is for JSONL files, and {path} is not JSONL")
    return FileCorpus(files, path.resolve().name, on_bad_line=on_bad_line, id_field=id_field)


def _files_of(folder: Path) -> list[tuple[Path, Format]]:
    if corpus := beir_file(folder, "corpus.jsonl"):
        return [(corpus, _format_of(corpus))]
    if beir_file(folder, "queries.jsonl"):
        raise MissingResourceError(
            f"{folder} has queries.jsonl but no corpus.jsonl[.gz]: complete the BEIR folder, or name the corpus file itself"
        )
    files = [
        (path, _SUFFIXES[Path(plain_name(path)).suffix.lower()])
        for path in sorted(folder.iterdir())
        if path.is_file() and Path(plain_name(path)).suffix.lower() in _SUFFIXES
    ]
    if not files:
        raise DataError(
            f"{folder} holds no corpus: expected corpus.jsonl[.gz], or files ending in {', '.join(_SUFFIXES)}[.gz]"
        )
    return files


def _format_of(path: Path) -> Format:
    start = head(path)
    if not start:
        raise DataError(f"{path} is empty: a corpus needs at least one document")
    if form := _SUFFIXES.get(Path(plain_name(path)).suffix.lower()):
        return form
    if start.startswith(b"{"):
        return "jsonl"
    if start.startswith(b"<"):
        return "trec"
    if b"\t" in start.split(b"\n", 1)[0] and b"\0" not in start:
        return "tsv"
    raise DataError(
        f"cannot tell the format of {path}: it starts with {start[:20]!r}, and its name ends in none of "
        f"{', '.join(_SUFFIXES)}[.gz]; accepted are {ACCEPTED}"
    )
