"""Corpora, topics and qrels out of ir_datasets, streamed. ir_datasets is imported, and fetches data, only when it is used."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Literal

from tamis.data.corpus import OnBadLine, ReadReport
from tamis.data.document import Document
from tamis.data.jsonl import TEXT_KEYS
from tamis.data.sources import id_problem, replace_surrogates
from tamis.errors import BadRecordError, DataError, MissingResourceError

Entity = Literal["docs", "queries", "qrels"]
_PATH_LIKE = re.compile(r"^[./~\\]|\.(?:gz|jsonl|json|tsv|txt|trec|xml|sgml|qrels)$")
_NAMES = {"docs": "documents", "queries": "queries", "qrels": "qrels"}


def find_dataset(name: str, entity: Entity, accepted: str) -> Any:
    """Return the dataset called `name`.

    Args:
        name: an ir_datasets id.
        entity: what it must provide.
        accepted: what the caller takes, for the message.

    Raises:
        MissingResourceError: there is no such path or dataset; the nearest ids are named.
        DataError: the dataset does not provide `entity`.
    """
    near: list[str] = []
    dataset = None
    if not _PATH_LIKE.search(name):  # spares a mistyped path the import
        import ir_datasets

        try:
            dataset = ir_datasets.load(name)
        except (KeyError, ValueError):
            near = _near(name, list(ir_datasets.registry))
    if dataset is None:
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise MissingResourceError(
            f"{name!r} is neither a path that exists nor an ir_datasets id{hint}; accepted: {accepted}"
        )
    if not dataset.has(entity):
        raise DataError(f"the ir_datasets dataset {name!r} provides no {_NAMES[entity]}")
    return dataset


def _near(name: str, known: list[str]) -> list[str]:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=3, cutoff=0.6)
    return near or sorted(k for k in known if k.startswith(name.rstrip("/") + "/"))[:3]


@contextlib.contextmanager
def dataset_errors(name: str) -> Iterator[None]:
    """Turn what goes wrong while ir_datasets fetches or parses its files into a typed error."""
    try:
        yield
    except (DataError, MissingResourceError):
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise MissingResourceError(
            f"ir_datasets could not provide {name!r}: {error or type(error).__name__}; check the network, or the manual steps at "
            f"https://ir-datasets.com/{name.split('/')[0]}.html"
        ) from error


class DatasetCorpus:
    """The documents of an ir_datasets dataset, streamed through its ``docs_iter``.

    Title and body are the fields ``title`` and the first of ``text``, ``contents``, ``body``; where there is no such field
    the body is the dataset's own default text without the title. Other fields are metadata, except raw markup and bytes.
    """

    def __init__(self, name: str, dataset: Any, *, on_bad_line: OnBadLine = "error") -> None:
        self._name, self._dataset, self._skip = name, dataset, on_bad_line == "skip"
        self._report = ReadReport()

    @property
    def name(self) -> str:
        """The dataset's id."""
        return self._name

    @property
    def report(self) -> ReadReport:
        """The current or last pass."""
        return self._report

    def count(self) -> int | None:
        """Return the number of documents that ir_datasets states without reading them."""
        found = self._dataset.docs_metadata().get("count")
        return int(found) if found is not None else None

    def fingerprint(self) -> dict[str, Any]:
        """Return the dataset's id and stated size; ir_datasets verifies the files that it fetches."""
        return {"kind": "ir_datasets", "name": self._name, "documents": self.count()}

    def __iter__(self) -> Iterator[Document]:
        """Start a pass.

        Raises:
            MissingResourceError: ir_datasets cannot get at the data.
            BadRecordError: a document that cannot be taken.
        """
        self._report = report = ReadReport()
        with dataset_errors(self._name):
            for number, record in enumerate(self._dataset.docs_iter(), 1):
                if problem := id_problem("document", str(record.doc_id)):
                    report.bad(BadRecordError(problem, self._name, number), skip=self._skip)
                    continue
                report.documents += 1
                yield _document(record)
        if not report.documents:
            raise DataError(f"the ir_datasets dataset {self._name!r} holds no documents")


def _document(record: Any) -> Document:
    values: dict[str, Any] = record._asdict()
    doc_id = str(values.pop("doc_id"))
    values.pop("marked_up_doc", None)
    title = _text(values.pop("title", ""))
    body = next((_text(values.pop(key)) for key in TEXT_KEYS if key in values), None)
    if body is None:
        body = _text(record.default_text()).removeprefix(title).lstrip()
    metadata = {key: value for key, item in values.items() if (value := _json_value(item)) is not _DROPPED}
    return Document(doc_id, body, title, metadata)


_DROPPED = object()


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_text, value))
    return "" if value is None else replace_surrogates(str(value))


def _json_value(value: Any) -> Any:
    """Return `value` as JSON holds it; `_DROPPED` for bytes, which it cannot."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, bytes):
        return _DROPPED
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(k): v for k, item in value.items() if (v := _json_value(item)) is not _DROPPED}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [v for item in value if (v := _json_value(item)) is not _DROPPED]
    return value.isoformat() if isinstance(value, date) else str(value)
