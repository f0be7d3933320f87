"""Some documents of a corpus by id: what re-scoring a run needs, read in one pass and held in memory."""

from __future__ import annotations

from collections.abc import Iterable

from tamis.data.corpus import Corpus
from tamis.errors import DataError
from tamis.events import Advanced, Finished, Listener, Started, ignore
from tamis.ranking import IdSpace, Rows

_SHOWN = 3


class SelectedDocuments(IdSpace):
    """A `tamis.stages.DocumentView` over a set of ids, such as all those of a run; some of them have texts.

    Args:
        ids: of the space; a ranking over the same ids is over this space.
        corpus: where the texts are.
        wanted: ids whose texts are read; None: all.
        listener: hears of the documents that are read.

    Raises:
        DataError: the corpus lacks wanted documents.
    """

    def __init__(
        self, ids: Iterable[str], corpus: Corpus, wanted: Iterable[str] | None = None, *, listener: Listener = ignore
    ) -> None:
        super().__init__(ids)
        missing = set(self._ids if wanted is None else wanted)
        count = len(missing)
        self._texts: dict[str, tuple[str, str]] = {}
        listener(Started("read", corpus.count(), "documents"))
        for document in corpus:
            listener(Advanced("read"))
            if document.id in missing:
                missing.remove(document.id)
                self._texts[document.id] = (document.title, document.text)
                if not missing:
                    break
        listener(Finished("read"))
        if missing:
            raise missing_documents(sorted(missing), count, corpus.name)

    @property
    def row_limit(self) -> int:
        """One more than the highest row."""
        return len(self._ids)

    def titles(self, rows: Rows) -> list[str]:
        """Return the title of each row."""
        return [self._text(doc_id)[0] for doc_id in self.ids(rows)]

    def bodies(self, rows: Rows) -> list[str]:
        """Return the body of each row."""
        return [self._text(doc_id)[1] for doc_id in self.ids(rows)]

    def texts(self, rows: Rows) -> list[str]:
        """Return title and body of each row, joined by a space where both are there."""
        return [f"{a} {b}" if a and b else a or b for a, b in map(self._text, self.ids(rows))]

    def _text(self, doc_id: str) -> tuple[str, str]:
        try:
            return self._texts[doc_id]
        except KeyError:
            raise DataError(f"the text of document {doc_id!r} was not read: it was not asked for") from None


def missing_documents(ids: list[str], total: int, where: str) -> DataError:
    """Return the error of a run whose documents are not all there."""
    shown = ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")
    return DataError(
        f"{where} lacks {len(ids):,} of the {total:,} documents that the run asks for ({shown}): give the corpus or index "
        "that the run was made from"
    )
