"""Relevance judgements: TREC's four columns, BEIR's three with a header, three without, and ir_datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tamis.data.sources import lines, split_file, split_reference
from tamis.errors import BadRecordError, DataError

ACCEPTED = (
    "TREC qrels (query, iteration, document, grade), BEIR .tsv (query-id, corpus-id, score), plain or .gz, "
    "FOLDER#SPLIT of a BEIR folder, or an ir_datasets id"
)
_TREC, _PLAIN = 4, 3
_HEADERS = {b"query-id", b"query_id", b"qid", b"queryid"}


class Qrels(Mapping[str, Mapping[str, int]]):
    """Judgements: query id → document id → grade. A mapping over the queries, in the order in which they first occur.

    Args:
        judgements: the grades; taken over, not copied.
        duplicates: how many repeated lines (of equal grade) were passed over while reading.
    """

    def __init__(self, judgements: Mapping[str, Mapping[str, int]], *, duplicates: int = 0) -> None:
        self._judgements = judgements
        self.duplicates = duplicates

    def __getitem__(self, query: str) -> Mapping[str, int]:
        """Return the grades of one query, by document id."""
        return self._judgements[query]

    def __iter__(self) -> Iterator[str]:
        return iter(self._judgements)

    def __len__(self) -> int:
        """Return the number of judged queries."""
        return len(self._judgements)

    def __repr__(self) -> str:
        return f"Qrels({len(self)} queries, {self.judged} judgements)"

    @property
    def queries(self) -> tuple[str, ...]:
        """Ids of the judged queries."""
        return tuple(self._judgements)

    @property
    def judged(self) -> int:
        """Number of judgements."""
        return sum(map(len, self._judgements.values()))

    def triples(self) -> Iterator[tuple[str, str, int]]:
        """Yield (query id, document id, grade) for every judgement."""
        for query, grades in self._judgements.items():
            for document, grade in grades.items():
                yield query, document, grade

    def subset(self, queries: Iterable[str]) -> Qrels:
        """Return the judgements of those of `queries` that have any, in this object's order."""
        wanted = set(queries)
        return Qrels({query: grades for query, grades in self._judgements.items() if query in wanted})


def read_qrels(source: str | Path) -> Qrels:
    """Read judgements.

    Args:
        source: a file; a BEIR folder with a single split, or ``FOLDER#SPLIT`` for ``FOLDER/qrels/SPLIT.tsv[.gz]``; or an
            ir_datasets id. The first line of a file decides between the forms. Grades may be negative.

    Raises:
        MissingResourceError: neither a path nor an ir_datasets id.
        BadRecordError: a malformed line, or one that contradicts an earlier one; names file and line.
        DataError: no judgements, or a folder with several splits.
    """
    path = Path(source)
    if reference := split_reference(source):
        path = split_file(*reference)
    elif path.is_dir():
        path = split_file(path, None)
    if path.exists():
        return _collect(_read_file(path), path)
    from tamis.data.irds import dataset_errors, find_dataset

    dataset = find_dataset(str(source), "qrels", ACCEPTED)
    with dataset_errors(str(source)):
        records = ((r.query_id, r.doc_id, int(r.relevance), n) for n, r in enumerate(dataset.qrels_iter(), 1))
        return _collect(records, source)


def _collect(records: Iterable[tuple[str, str, int, int]], source: str | Path) -> Qrels:
    judgements: dict[str, dict[str, int]] = {}
    duplicates = 0
    for query, document, grade, line in records:
        grades = judgements.setdefault(query, {})
        before = grades.get(document)
        if before is None:
            grades[document] = grade
        elif before == grade:
            duplicates += 1
        else:
            raise BadRecordError(
                f"document {document!r} has grade {grade} for query {query!r} here and {before} before: keep one of them",
                source,
                line,
            )
    if not judgements:
        raise DataError(f"{source} holds no judgements")
    return Qrels(judgements, duplicates=duplicates)


def _read_file(path: Path) -> Iterator[tuple[str, str, int, int]]:
    width = 0
    for number, line in lines(path):
        columns = line.split()
        if not columns:
            continue
        if not width:
            width = len(columns)
            if width not in (_TREC, _PLAIN):
                raise BadRecordError(f"{width} columns; accepted are {ACCEPTED}", path, number)
            if columns[0].lower() in _HEADERS:
                continue
        if len(columns) != width:
            raise BadRecordError(f"{len(columns)} columns, expected {width} as in the lines before", path, number)
        try:
            query, document, grade = columns[0].decode(), columns[-2].decode(), int(columns[-1])
        except UnicodeDecodeError:
            raise BadRecordError("invalid UTF-8; convert the file to UTF-8", path, number) from None
        except ValueError:
            raise BadRecordError(
                f"grade {columns[-1].decode('utf-8', 'replace')!r} is not a whole number", path, number
            ) from None
        yield query, document, grade, number
