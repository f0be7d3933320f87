"""`Index`: the public object that ties documents, parts and pipelines together.

    import tamis

    with tamis.Index.create("my-index") as index:
        index.add([{"id": "1", "title": "Sieves", "text": "A tamis is a drum sieve."}])
        for hit in index.search("drum sieve", k=5):
            print(hit.rank, hit.id, hit.score, hit.title)

An open index reads one generation, whatever writers do meanwhile; its own `add`, `delete` and `compact` move it to the
generation they make. Reading is safe from many threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from tamis.data.document import Document
from tamis.errors import DataError, MissingResourceError, UsageError
from tamis.events import Listener, ignore
from tamis.indexer.layout import Manifest, Settings, check_files, check_format
from tamis.indexer.lock import Pin, pin_newest

if TYPE_CHECKING:
    from tamis.data.filters import Filter
    from tamis.indexer.documents import DocumentStore
    from tamis.indexer.filters import FilterMasks
    from tamis.indexer.foreign import ForeignDocuments
    from tamis.indexer.verify import VerifyReport
    from tamis.indexer.writer import AddReport, DeleteReport, Writer
    from tamis.pipeline import Pipeline, Runner
    from tamis.pipeline.explain import Explanation
    from tamis.ranking import Queries, Ranking
    from tamis.stages import RowMask

DEFAULT_PIPELINE = "bm25"


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One result, with its document.

    Attributes:
        rank: from 1.
        id: id of the document, or of the passage (``DOCUMENT#n``).
        score: the last stage's score.
        row: the row it stands for.
        title: its title.
        text: its body.
        metadata: everything else that the corpus said of it.
    """

    rank: int
    id: str
    score: float
    row: int
    title: str
    text: str
    metadata: Mapping[str, Any]


def as_document(value: Document | Mapping[str, Any]) -> Document:
    """Return a `Document`; a mapping is read like a line of a JSONL corpus.

    Raises:
        DataError: the mapping holds no usable id or text.
    """
    if isinstance(value, Document):
        if not value.id.isascii():
            try:
                value.id.encode()
            except UnicodeEncodeError:
                raise DataError(f"document id {value.id!r} holds a lone surrogate, which UTF-8 cannot") from None
        return value
    from tamis.data.jsonl import document_from

    return document_from(value)


class Index:
    """An open index. Make one with `tamis.open` or `Index.create`; a context manager."""

    def __init__(self, path: Path, *, threads: int, listener: Listener) -> None:
        self.path = path
        self._threads, self._listener = threads, listener
        self._lock = threading.RLock()
        self._parts: dict[str, Any] = {}
        self._runner: Runner | None = None
        self._masks: FilterMasks | None = None
        self._pin: Pin | None = None
        self._closed = False
        self._documents: DocumentStore | ForeignDocuments
        self._open()

    # -- opening ---------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, threads: int | None = None, listener: Listener = ignore) -> Self:
        """Open an index, or a bare Lucene index that Anserini wrote (read-only).

        Args:
            path: its folder.
            threads: queries of a batch that run at a time; all processors if not given.
            listener: is told of the progress of long work.

        Raises:
            MissingResourceError: there is nothing.
            IndexDataError: it is not an index, is damaged, or is of a newer layout.
        """
        return cls(Path(path), threads=_thread_count(threads), listener=listener)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        analyzer: str = "english",
        fields: str | None = None,
        passages: str | None = None,
        filterable: Sequence[str] = (),
        overwrite: bool = False,
        threads: int | None = None,
        listener: Listener = ignore,
    ) -> Self:
        """Make a new, empty index and open it.

        Args:
            path: its folder; must not exist or be empty.
            analyzer: ``english``, ``english:krovetz``, ``english:none``, ``whitespace`` or a language code.
            fields: searched fields with weights, e.g. ``title^2,body``; by default title and body are one field.
            passages: cut documents into rows, e.g. ``tokens:200/100`` (window and stride in words).
            filterable: metadata keys to store as typed columns.
            overwrite: replace an index that is there.
            threads: as for `open`.
            listener: as for `open`.

        Raises:
            OutputExistsError: the folder is taken.
            UnknownNameError: there is no such analyser.
            ParseError: `fields` or `passages` is malformed.
        """
        from tamis.indexer.writer import create_index

        settings, count = make_settings(analyzer, fields, passages, filterable), _thread_count(threads)
        create_index(Path(path), settings, overwrite=overwrite)
        return cls(Path(path), threads=count, listener=listener)

    def _open(self) -> None:
        from tamis.indexer.foreign import ForeignDocuments, is_lucene_folder

        self._closed = False
        try:
            check_format(self.path)
        except DataError:
            if not is_lucene_folder(self.path):
                raise
            self._documents = ForeignDocuments(self.path)
            self._documents.reader = self.part("lucene").reader
            return
        from tamis.indexer.documents import DocumentStore

        self._pin = pin_newest(self.path)
        try:
            check_files(self.path, self._pin.manifest)
        except BaseException:
            self.close()
            raise
        self._documents = DocumentStore(self.path, self._pin.manifest)

    def close(self) -> None:
        """Let the generation go and close the parts; the index cannot be used afterwards."""
        with self._lock:
            for part in self._parts.values():
                part.close()
            self._parts.clear()
            self._runner = self._masks = None
            if self._pin is not None:
                self._pin.close()
                self._pin = None
            self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self.path}: the index is closed; open it again with tamis.open")

    def refresh(self) -> int:
        """Move to the newest generation, and return its number."""
        with self._lock:
            self.close()
            self._open()
            return self.generation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<tamis.Index {str(self.path)!r}, closed>"
        return f"<tamis.Index {str(self.path)!r}, generation {self.generation}, {len(self):,} rows>"

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def manifest(self) -> Manifest:
        """The generation's manifest.

        Raises:
            UsageError: the index is closed, or is a bare Lucene index, which has none.
        """
        self._require_open()
        if self._pin is None:
            raise UsageError(f"{self.path} was not made by Tamis: it has no manifest, and is read-only")
        return self._pin.manifest

    @property
    def has_manifest(self) -> bool:
        """Whether Tamis made the index; a bare Lucene index has no manifest."""
        self._require_open()
        return self._pin is not None

    @property
    def generation(self) -> int:
        """Number of the open generation; 0 is the empty index. A bare Lucene index has generation 0."""
        self._require_open()
        return self._pin.manifest.generation if self._pin else 0

    @property
    def documents(self) -> DocumentStore | ForeignDocuments:
        """The documents: a `tamis.stages.DocumentView`."""
        return self._documents

    def __len__(self) -> int:
        """Live rows."""
        from tamis.indexer.documents import DocumentStore

        return (
            len(self._documents) if isinstance(self._documents, DocumentStore) else self.part("lucene").reader.num_docs
        )

    def part(self, name: str) -> Any:
        """Return the open part called `name`.

        Raises:
            MissingResourceError: the index holds no such part.
        """
        with self._lock:
            self._require_open()
            if name not in self._parts:
                if self._pin is None:
                    from tamis.indexer.lucene.part import LucenePart

                    if name != "lucene":
                        raise MissingResourceError(f"{self.path} is a bare Lucene index: its only part is 'lucene'")
                    part = LucenePart(self.path, None, "english", {"contents": 1.0}, self._documents, self._threads)
                else:
                    from tamis.indexer.parts import open_part

                    documents = cast("DocumentStore", self._documents)
                    part = open_part(self.path, name, self._pin.manifest, documents, self._threads)
                self._parts[name] = part
            return self._parts[name]

    def models(self) -> dict[str, str]:
        """Return the parts that a model encoded, by name, with the model's address."""
        from tamis.indexer.encoded.entry import encoded_entries

        self._require_open()
        parts = self._pin.manifest.parts if self._pin else {}
        return {name: entry.address for name, entry in encoded_entries(parts).items()}

    def rank(
        self,
        queries: str | Mapping[str, str] | Iterable[tuple[str, str]] | Queries,
        k: int = 1000,
        *,
        pipeline: str | Pipeline = DEFAULT_PIPELINE,
        filter: str | Filter | None = None,  # noqa: A002 - the word that users know
        listener: Listener | None = None,
    ) -> Ranking:
        """Run a pipeline over a batch of queries.

        Args:
            queries: one text, a mapping or pairs of id and text, or `Queries`.
            k: results a query, at least 1.
            pipeline: e.g. ``"bm25 % 1000"`` or ``"rrf(bm25, ql)"``, or the same put together in Python.
            filter: which documents may be found, by their metadata, e.g. ``'year >= 1970 and lang == "en"'``; see
                `tamis.data.filters`. The best `k` that it allows are found, not the allowed ones among the best `k`.
            listener: overrides the index's own.

        Raises:
            UsageError: `k`, the pipeline or the filter is wrong, or a retriever cannot honour a filter.
            MissingResourceError: a part that the pipeline names is not in the index.
        """
        from tamis.ranking import Queries, check_k

        check_k(k)
        batch, mask = Queries.of(queries), None if filter is None else self.mask(filter)
        return self._shared_runner().run(pipeline, batch, k, mask=mask, listener=listener or self._listener)

    def mask(self, filter: str | Filter) -> RowMask:  # noqa: A002 - the word that users know
        """Return which rows a filter allows: bool of length ``documents.row_limit``, true where live and allowed; read-only.

        Raises:
            ParseError: it is malformed; carries the position of the fault.
            UsageError: it names a key that is not filterable, or the index is a bare Lucene index.
        """
        from tamis.data.filters import Filter
        from tamis.indexer.documents import DocumentStore
        from tamis.indexer.filters import FilterMasks

        chosen = Filter.of(filter)
        with self._lock:
            self._require_open()
            if not isinstance(self._documents, DocumentStore):
                raise UsageError(f"{self.path} is a bare Lucene index: its metadata cannot be filtered")
            masks = self._masks = self._masks or FilterMasks(self._documents)
        return masks.mask(chosen)

    def explain(
        self,
        query: str,
        doc_id: str,
        *,
        pipeline: str | Pipeline = DEFAULT_PIPELINE,
        k: int = 1000,
        filter: str | Filter | None = None,  # noqa: A002 - the word that users know
    ) -> Explanation:
        """Say how a document fares with a query: at every stage of a pipeline its rank, its score, and what the score is made of.

        Args:
            query: the query.
            doc_id: id of a document, or of a passage.
            pipeline: as in `rank`.
            k: results of the search that is explained.
            filter: as in `rank`.

        Raises:
            MissingResourceError: the index does not hold the document, or a part that the pipeline names.
            UsageError: as in `rank`.
        """
        from tamis.pipeline.explain import explain
        from tamis.ranking import check_k

        check_k(k)
        mask = None if filter is None else self.mask(filter)
        return explain(self._shared_runner(), pipeline, query, doc_id, k, mask=mask)

    def prepare(self, pipeline: str | Pipeline = DEFAULT_PIPELINE) -> None:
        """Open what a pipeline needs, so that the first query does not pay for it; arguments and errors as in `rank`."""
        self._shared_runner().plan([pipeline], 1)

    def _shared_runner(self) -> Runner:
        from tamis.pipeline import Runner

        with self._lock:
            self._runner = self._runner or Runner(self)
            return self._runner

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        pipeline: str | Pipeline = DEFAULT_PIPELINE,
        filter: str | Filter | None = None,  # noqa: A002 - the word that users know
    ) -> list[SearchHit]:
        """Return the best `k` results of one query, with their documents; arguments as in `rank`."""
        return self.hits(self.rank(query, k, pipeline=pipeline, filter=filter), "1")

    def hits(self, ranking: Ranking, query_id: str) -> list[SearchHit]:
        """Return the results of one query of a ranking of this index, with their documents.

        Raises:
            SpaceMismatchError: the ranking is of another index or generation.
        """
        from tamis.ranking import GROUPED

        if ranking.space.key.removesuffix(GROUPED) != self._documents.key:  # what `maxp` groups keeps its rows here
            ranking.require_space(self._documents)
        hits = ranking[query_id]
        if not hits:
            return []
        import numpy as np

        rows = np.array([hit.row for hit in hits], np.int64)
        documents = self._documents
        columns = zip(hits, documents.titles(rows), documents.bodies(rows), documents.metadata(rows), strict=True)
        return [SearchHit(h.rank, h.id, h.score, h.row, title, text, data) for h, title, text, data in columns]

    def document(self, doc_id: str) -> Document:
        """Return a document (or passage) by its id; a document that was cut is put together again only by its passages.

        Raises:
            MissingResourceError: the index does not hold it.
        """
        import numpy as np

        from tamis.indexer.documents import DocumentStore

        if isinstance(self._documents, DocumentStore):
            row = self._documents.require(doc_id)
        else:
            row = int(self._documents.rows([doc_id])[0])
            if row < 0:
                raise MissingResourceError(f"no document {doc_id!r} in {self.path}")
        rows = np.array([row], np.int64)
        documents = self._documents
        return Document(
            documents.ids(rows)[0], documents.bodies(rows)[0], documents.titles(rows)[0], documents.metadata(rows)[0]
        )

    # -- writing ---------------------------------------------------------------------------------------------------

    def _writer(self) -> Writer:
        from tamis.indexer.writer import Writer

        self._require_open()
        if self._pin is None:
            raise UsageError(f"{self.path} was not made by Tamis and is read-only")
        return Writer(self.path, threads=self._threads, listener=self._listener)

    def _follow(self, writer: Writer) -> None:
        """Move to the generation that `writer` made, and let go of the files of the one before."""
        if writer.manifest.generation != self.generation:
            self.refresh()
            writer.collect()

    def add(
        self,
        documents: Iterable[Document | Mapping[str, Any]],
        *,
        fingerprint: Mapping[str, Any] | None = None,
        total: int | None = None,
    ) -> AddReport:
        """Add documents and commit; one whose id the index holds already replaces it.

        Of documents with the same id in one call the first is taken; the others are counted in the report.

        Args:
            documents: `Document`s, or mappings like a line of a JSONL corpus, streamed.
            fingerprint: identity of the corpus (`Corpus.fingerprint`): makes the job resumable after a kill.
            total: number of documents if known, for progress.

        Raises:
            DataError: a document is malformed, or there is none.
            IndexLockedError: another writer holds the index.
        """
        with self._writer() as writer:
            report = writer.add(map(as_document, documents), fingerprint=fingerprint, total=total)
            self._follow(writer)
        return report

    def delete(self, ids: Iterable[str]) -> DeleteReport:
        """Delete documents by id and commit; ids that the index does not hold are reported."""
        with self._writer() as writer:
            report = writer.delete(list(ids))
            self._follow(writer)
        return report

    def compact(self) -> None:
        """Rewrite the index without its deleted rows; statistics forget them from here on."""
        with self._writer() as writer:
            writer.compact()
            self._follow(writer)

    def add_part(self, address: str, name: str | None = None) -> str:
        """Encode all documents with a model, keep the result as a part, and commit; later documents are encoded as they come.

        An interrupted call, made again, encodes what is missing; a part that is there already is left as it is, but for entities
        that its model gained (`update_part`).

        Args:
            address: the model, e.g. ``dense:minilm`` or ``dense:minilm?store=float16``.
            name: of the part; the model's address without its options if not given.

        Returns:
            The part's name.

        Raises:
            UsageError: the family encodes no documents, or an option is wrong.
            OutputExistsError: there is another part of that name.
            ModelError: the model failed.
        """
        from tamis.families import Address, family, option_values, parse_options

        parsed = Address.parse(address)
        cls = family(parsed.family)
        encoder_of = getattr(cls, "encoder", None)
        if encoder_of is None or cls.part_kind is None:
            raise UsageError(f"{address}: the family {parsed.family!r} makes no part of an index")
        options = parse_options(cls.Options, parsed.options, of=parsed.family)
        chosen = name or str(replace(parsed, options=()))
        with self._writer() as writer:
            writer.add_part(chosen, cls.part_kind, encoder_of(parsed), option_values(options, "part"))
            self._follow(writer)
        return chosen

    def update_part(self, name: str) -> int:
        """Bring a part up to the entities that its model and vocabulary have gained, and commit.

        Only documents that mention such an entity are encoded anew; the rows of all others stay as they are, to the byte.

        Returns:
            How many rows were encoded anew.

        Raises:
            MissingResourceError: there is none of that name.
            UsageError: its model gains no entities.
            FingerprintError: the model is another than the one that encoded the part.
        """
        from tamis.families import open_encoder

        address = self.models().get(name)
        if address is None:
            held = ", ".join(sorted(self.models())) or "none"
            raise MissingResourceError(f"{self.path} has no part {name!r} that a model encoded; there are: {held}")
        with self._writer() as writer:
            rows = writer.update_part(name, open_encoder(address))
            self._follow(writer)
        return rows

    def drop_part(self, name: str) -> None:
        """Take an encoded part out of the index, and commit.

        Raises:
            MissingResourceError: there is none of that name.
        """
        with self._writer() as writer:
            writer.drop_part(name)
            self._follow(writer)

    def gc(self) -> list[str]:
        """Remove files that no generation needs; return their paths."""
        with self._writer() as writer:
            return writer.collect()

    def verify(self, *, quick: bool = False) -> VerifyReport:
        """Check every file that the newest generation names."""
        from tamis.indexer.verify import verify_index

        return verify_index(self.path, quick=quick, listener=self._listener)

    def inspect(self) -> dict[str, Any]:
        """Return what the index is, as JSON values: settings, statistics, counts, segments, sizes, sources."""
        from tamis.indexer.inspect import describe

        return describe(self.path, self.manifest)


def make_settings(analyzer: str, fields: str | None, passages: str | None, filterable: Sequence[str]) -> Settings:
    """Return checked index settings from their spellings."""
    from tamis.data.fields import parse_fields
    from tamis.data.passages import Chunker
    from tamis.indexer.lucene.analysis import check_analyzer

    weights = tuple((f.name, f.weight) for f in parse_fields(fields)) if fields else (("contents", 1.0),)
    reserved = {"id", "row"} & {name for name, _ in weights}
    if reserved:
        raise UsageError(f"field {reserved.pop()!r} is reserved: rename the metadata key")
    return Settings(
        check_analyzer(analyzer), weights, str(Chunker.parse(passages)) if passages else None, tuple(filterable)
    )


def _thread_count(threads: int | None) -> int:
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise UsageError(f"threads={threads}: at least 1 is needed")
    return threads
