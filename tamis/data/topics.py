"""Topics: the queries of a test collection, in the forms that the ecosystem keeps them.

JSON lines (BEIR and others), ``id TAB text``, ``id:text`` (TREC Web and Million Query tracks), TREC's SGML topics with closed
or unclosed tags, TREC's XML topics, and ir_datasets ids; plain or gzipped. White space around a query is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tamis.data.jsonl import RecordProblem, parse_object, take_id
from tamis.data.sources import (
    beir_file,
    decode_lenient,
    head,
    id_problem,
    lines,
    open_binary,
    plain_name,
    replace_surrogates,
    source_name,
    split_file,
    split_reference,
    utf8_problem,
)
from tamis.data.trec_topics import parse_topics, topic_fields
from tamis.errors import BadRecordError, DataError, MissingResourceError, UsageError
from tamis.files import sha256_json
from tamis.ranking import Queries

ACCEPTED = (
    "a BEIR folder (or FOLDER#SPLIT), JSON lines, id TAB text or TREC topics (SGML or XML), plain or .gz, "
    "or an ir_datasets id"
)
_ID_KEYS = ("_id", "id", "qid", "query_id")
_FIELD_KEYS = {
    "title": ("text", "query", "contents", "title", "question"),
    "desc": ("desc", "description"),
    "narr": ("narr", "narrative"),
}
_COLON = re.compile(r"[^\s:]+:")

Topic = tuple[str, str, int]
"""Id, text, line."""


def read_topics(source: str | Path, *, field: str = "title") -> Queries:
    """Read the queries of a test collection.

    Args:
        source: a path, ``FOLDER#SPLIT`` for the queries of a BEIR folder that one split judges, or an ir_datasets id.
        field: which field of a topic is the query: ``title``, ``desc``, ``narr`` or another that the topics have, or several
            joined by ``+``. ``title`` also stands for the text of queries that have but one.

    Raises:
        MissingResourceError: neither a path nor an ir_datasets id.
        BadRecordError: a malformed or repeated topic; names file and line.
        DataError: no topics, or a form that cannot be told.
        UsageError: a field for topics that have none.
    """
    fields = [name.strip() for name in field.split("+")]
    if not all(fields):
        raise UsageError(f"topic field {field!r}: expected title, desc, narr, or several joined by +")
    if reference := split_reference(source):
        folder, split = reference
        from tamis.data.qrels import read_qrels

        judged = read_qrels(split_file(folder, split))
        queries = _read_path(folder, fields)
        return queries.take([position for position, query in enumerate(queries.ids) if query in judged])
    path = Path(source)
    return _read_path(path, fields) if path.exists() else _read_dataset(str(source), fields)


def topics_identity(source: str, queries: Queries) -> dict[str, Any]:
    """Return what identifies a set of topics: name, number and a hash of ids and texts."""
    pairs = [list(pair) for pair in zip(queries.ids, queries.texts, strict=True)]
    return {
        "name": source_name(source),
        "queries": len(queries),
        "sha256": sha256_json(pairs),
    }


def _read_path(path: Path, fields: list[str]) -> Queries:
    if path.is_dir():
        file = beir_file(path, "queries.jsonl")
        if file is None:
            raise MissingResourceError(f"{path} holds no queries.jsonl[.gz]: name the topics file itself")
        path = file
    return _checked(_topics_of(path, fields), path)


def _topics_of(path: Path, fields: list[str]) -> Iterable[Topic]:
    start = head(path)
    if not start:
        raise DataError(f"{path} is empty: expected {ACCEPTED}")
    suffix = Path(plain_name(path)).suffix.lower()
    if start.startswith(b"{") or suffix in (".jsonl", ".ndjson"):
        return _read_jsonl(path, fields)
    if start.startswith(b"<"):
        with open_binary(path) as handle:
            return parse_topics(decode_lenient(handle.read()), path, fields)
    if fields != ["title"]:
        raise UsageError(f"topic field {'+'.join(fields)!r}: {path} holds one text a query, no fields")
    first = start.split(b"\n", 1)[0]
    if b"\t" in first or suffix == ".tsv":
        return _read_columns(path, "\t", "a tab between id and text")
    if _COLON.match(first.decode("utf-8", "replace")):
        return _read_columns(path, ":", "id:text")
    raise DataError(
        f"cannot tell the form of the topics in {path}: its first line is {first[:60]!r}; accepted are {ACCEPTED}"
    )


def _checked(topics: Iterable[Topic], path: Path) -> Queries:
    found: dict[str, str] = {}
    for query_id, text, line in topics:
        if problem := id_problem("query", query_id):
            raise BadRecordError(problem, path, line)
        if query_id in found:
            raise BadRecordError(f"query id {query_id!r} occurs twice: query ids must be unique", path, line)
        found[query_id] = text.strip()
    if not found:
        raise DataError(f"{path} holds no topics")
    return Queries.of(found)


def _read_jsonl(path: Path, fields: list[str]) -> Iterator[Topic]:
    for number, line in lines(path):
        if line.isspace():
            continue
        try:
            record = parse_object(line)
            query_id = take_id(record, _ID_KEYS, "query")
            yield query_id, " ".join(_member(record, name) for name in fields), number
        except RecordProblem as problem:
            raise BadRecordError(str(problem), path, number) from None


def _member(record: dict[str, Any], name: str) -> str:
    for key in _FIELD_KEYS.get(name, (name,)):
        if isinstance(value := record.get(key), str):
            return value
        if key in record:
            raise RecordProblem(f"{key!r} is not a string")
    raise RecordProblem(f"the query has no {name}: expected the key {' or '.join(_FIELD_KEYS.get(name, (name,)))}")


def _read_columns(path: Path, separator: str, expected: str) -> Iterator[Topic]:
    for number, line in lines(path):
        if line.isspace():
            continue
        try:
            query_id, found, text = line.decode().rstrip("\r\n").partition(separator)
        except UnicodeDecodeError as error:
            raise BadRecordError(utf8_problem(error), path, number) from None
        if not found or (separator == "\t" and "\t" in text):
            raise BadRecordError(f"not a topic: expected {expected}, found {line[:60]!r}", path, number)
        yield query_id, text, number


def _read_dataset(name: str, fields: list[str]) -> Queries:
    from tamis.data.irds import dataset_errors, find_dataset

    dataset = find_dataset(name, "queries", ACCEPTED)
    found: dict[str, str] = {}
    with dataset_errors(name):
        for number, query in enumerate(dataset.queries_iter(), 1):
            values = {k: v for k, v in query._asdict().items() if isinstance(v, str)}
            query_id = values.pop("query_id")
            only_title = fields == ["title"]
            text = query.default_text() if only_title else " ".join(topic_fields(values, fields, name, number))
            if problem := id_problem("query", query_id):
                raise BadRecordError(problem, name, number)
            found[query_id] = replace_surrogates(text).strip()
    return Queries.of(found)
