"""Documents whose texts a diagnosis has changed, as what a model is opened on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tamis.encoders.base import Passage
from tamis.errors import UsageError
from tamis.files import sha256_json
from tamis.ranking import Rows
from tamis.stages import DocumentView


class Texts:
    """A `tamis.stages.DocumentView` over passages in memory; a row is a place among them.

    Args:
        passages: title and text of each row.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = list(passages)
        self._key = f"texts:{sha256_json([list(passage) for passage in self._passages])}"

    @property
    def key(self) -> str:
        """Identity: a digest of the texts."""
        return self._key

    @property
    def row_limit(self) -> int:
        """One more than the highest row."""
        return len(self._passages)

    def ids(self, rows: Rows) -> list[str]:
        """Return the number of each row as its id."""
        return [str(row) for row in rows.tolist()]

    def rows(self, ids: Sequence[str]) -> Rows:
        """Return the row of each id, -1 where there is none."""
        import numpy as np

        known = {str(row): row for row in range(len(self._passages))}
        return np.array([known.get(doc_id, -1) for doc_id in ids], np.int64)

    def titles(self, rows: Rows) -> list[str]:
        """Return the title of each row."""
        return [self._passages[row].title for row in rows.tolist()]

    def bodies(self, rows: Rows) -> list[str]:
        """Return the text of each row."""
        return [self._passages[row].text for row in rows.tolist()]

    def texts(self, rows: Rows) -> list[str]:
        """Return title and text of each row, joined."""
        return [self._passages[row].joined for row in rows.tolist()]


class Changed:
    """A `tamis.stages.DocumentView`: the documents of another, seen through a change of their texts.

    Args:
        documents: the others; rows and ids are theirs.
        change: what becomes of a passage.
        name: of the change, for the identity of the space.
    """

    def __init__(self, documents: DocumentView, change: Callable[[Passage], Passage], name: str) -> None:
        self._documents, self._change, self.key = documents, change, f"{documents.key}:{name}"

    @property
    def row_limit(self) -> int:
        """One more than the highest row."""
        return self._documents.row_limit

    def ids(self, rows: Rows) -> list[str]:
        """Return the id of each row."""
        return self._documents.ids(rows)

    def rows(self, ids: Sequence[str]) -> Rows:
        """Return the row of each id, -1 where there is none."""
        return self._documents.rows(ids)

    def titles(self, rows: Rows) -> list[str]:
        """Return the changed title of each row."""
        return [passage.title for passage in self._changed(rows)]

    def bodies(self, rows: Rows) -> list[str]:
        """Return the changed text of each row."""
        return [passage.text for passage in self._changed(rows)]

    def texts(self, rows: Rows) -> list[str]:
        """Return changed title and text of each row, joined."""
        return [passage.joined for passage in self._changed(rows)]

    def _changed(self, rows: Rows) -> list[Passage]:
        return list(map(self._change, passages_of(self._documents, rows)))


class TextSource:
    """A `tamis.stages.PartSource` that has texts and no parts: what a model says of them is worked out anew."""

    def __init__(self, documents: DocumentView) -> None:
        self.documents = documents

    def part(self, name: str) -> Any:
        """Refuse.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"this model reads the part {name!r} of an index, and here it is given texts that stand in no index: name "
            f"a model "
            "that reads texts, a reranker or an encoder"
        )

    def models(self) -> Mapping[str, str]:
        """Return that no part was encoded by a model."""
        return {}


def passages_of(documents: DocumentView, rows: Rows) -> list[Passage]:
    """Return title and text of rows."""
    return list(map(Passage, documents.titles(rows), documents.bodies(rows)))
