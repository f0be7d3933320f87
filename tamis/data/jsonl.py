"""Documents as JSON lines: the BEIR and Pyserini spellings, everything that is not id, title or body kept as metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tamis.data.document import Document
from tamis.data.sources import id_problem, lines, replace_surrogates, utf8_problem
from tamis.errors import DataError

if TYPE_CHECKING:
    from tamis.data.corpus import Reject

ID_KEYS = ("_id", "id", "docid")
TEXT_KEYS = ("text", "contents", "body")


class RecordProblem(Exception):  # noqa: N818 - never leaves the readers: they name file and line and raise BadRecordError
    """What is wrong with one record."""


def read_jsonl(path: Path, reject: Reject, id_field: str | None = None) -> Iterator[Document]:
    """Yield the documents of a JSONL file.

    The id is the first of ``_id``, ``id``, ``docid`` (or `id_field`); whole numbers become strings. The body is the first of
    ``text``, ``contents``, ``body``; missing or null it is empty, like the title. All other keys are metadata; a ``metadata``
    object, as BEIR writes it, is unfolded, top-level keys winning. Lone surrogates in any string become U+FFFD. Blank lines
    are passed over.
    """
    id_keys = (id_field,) if id_field else ID_KEYS
    for number, line in lines(path):
        if line.isspace():
            continue
        try:
            yield document_of(parse_object(line), id_keys)
        except RecordProblem as problem:
            reject(str(problem), number)


def parse_object(line: bytes) -> dict[str, Any]:
    """Parse one line as a JSON object.

    Raises:
        RecordProblem: it is not one.
    """
    try:
        value = _parse(line.decode().strip())
    except UnicodeDecodeError as error:
        raise RecordProblem(utf8_problem(error)) from None
    except json.JSONDecodeError as error:
        raise RecordProblem(f"broken JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise RecordProblem(f"unusable JSON: {error}") from None
    if not isinstance(value, dict):
        raise RecordProblem(f"a JSON {_JSON_NAMES[type(value)]} where an object {{…}} is expected")
    if b"\\u" in line and (b"\\ud" in line or b"\\uD" in line):  # only an escape can bring in a lone surrogate
        return {replace_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def document_of(record: dict[str, Any], id_keys: tuple[str, ...] = ID_KEYS) -> Document:
    """Build a document from a JSON object, which is consumed.

    Raises:
        RecordProblem: no usable id, or a title or body that is not a string.
    """
    doc_id = take_id(record, id_keys, "document")
    text = title = ""
    for key in TEXT_KEYS:
        if key in record:
            text = record.pop(key)
            break
    if "title" in record:
        title = record.pop("title")
    if type(text) is not str or type(title) is not str:
        text, title = _string(text, "text"), _string(title, "title")
    if "metadata" in record:
        nested = record.pop("metadata")
        record = {**nested, **record} if isinstance(nested, dict) else {**record, "metadata": nested}
    return Document(doc_id, text, title, record)


def document_from(mapping: Mapping[str, Any]) -> Document:
    """Build a document from a mapping that looks like a line of a JSONL corpus.

    Raises:
        DataError: no usable id, or a title or body that is not a string.
    """
    try:
        return document_of(_without_surrogates(dict(mapping)))
    except RecordProblem as problem:
        raise DataError(f"document {dict(mapping)!r:.200}: {problem}") from None


def take_id(record: dict[str, Any], keys: tuple[str, ...], kind: str) -> str:
    """Remove and return a record's id: the first of `keys` that it has.

    Raises:
        RecordProblem: there is none, or it cannot be an id.
    """
    for key in keys:
        if key in record:
            value = record.pop(key)
            if type(value) is int:
                return str(value)
            if problem := id_problem(kind, value):
                raise RecordProblem(problem)
            return str(value)
    raise RecordProblem(f"no id: expected the key {' or '.join(map(repr, keys))} among {sorted(record)[:8]}")


def _string(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordProblem(f"{name} is a JSON {_JSON_NAMES[type(value)]}, not a string")
    return value


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {replace_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _parse(text: str) -> Any:
    """Parse a text without white space around it."""
    value, end = _decoder.raw_decode(text)
    return value if end == len(text) else _decoder.decode(text)  # which says what the extra data are


_JSON_NAMES = {
    list: "array",
    dict: "object",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
