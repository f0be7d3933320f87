"""Searching a Lucene commit: queries in, arrays of document numbers and scores out.

A `LuceneReader` is opened on one commit and never sees another. It is safe for threads; Lucene's own calls release the
interpreter lock. Hits leave Java as two primitive arrays filled by one loop there, never hit by hit.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.data.sources import replace_surrogates
from tamis.errors import UsageError
from tamis.indexer.analysis import TextAnalyzer
from tamis.indexer.lucene.analysis import make_analyzer
from tamis.indexer.lucene.build import open_directory
from tamis.indexer.lucene.commits import find_commit
from tamis.indexer.lucene.failures import java_errors
from tamis.indexer.lucene.jvm import java, start

Hits = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Lucene document numbers and scores, best first."""

_SEARCH = "org.apache.lucene.search."


class LuceneReader:
    """One commit of a Lucene index, opened for searching.

    Args:
        folder: the Lucene folder.
        segments_file: the commit's ``segments_N``; None opens the newest (an index that Tamis did not write).
        analyzer: name of the analyser that queries pass through.
    """

    def __init__(self, folder: Path, segments_file: str | None, analyzer: str) -> None:
        start()
        java(_SEARCH + "IndexSearcher").setMaxClauseCount(1 << 20)  # a query may be a document
        self._directory = open_directory(folder)
        directory_reader = java("org.apache.lucene.index.DirectoryReader")
        try:
            with java_errors(folder):
                target = find_commit(self._directory, segments_file) if segments_file else self._directory
                self._reader = directory_reader.open(target)
        except BaseException:
            self._directory.close()
            raise
        self.folder = folder
        self.analyzer_name = analyzer
        self._analyzer = make_analyzer(analyzer)
        self._texts = TextAnalyzer(analyzer)
        self._searchers: dict[tuple[str, float, float], Any] = {}
        self._frequencies: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._generator = java("io.anserini.search.query.BagOfWordsQueryGenerator")()

    def close(self) -> None:
        """Close the reader; further calls fail."""
        self._reader.close()
        self._directory.close()

    @property
    def max_doc(self) -> int:
        """One more than the highest document number, deleted documents included."""
        return int(self._reader.maxDoc())

    @property
    def num_docs(self) -> int:
        """Live documents."""
        return int(self._reader.numDocs())

    @cached_property
    def fields(self) -> list[str]:
        """Names of the indexed fields."""
        infos = java("org.apache.lucene.index.FieldInfos").getMergedFieldInfos(self._reader)
        return sorted(str(info.name) for info in infos)

    def tokenize(self, text: str) -> list[str]:
        """Return the terms of a text, in order."""
        return self._texts.terms(text)

    def token_offsets(self, text: str) -> list[tuple[str, int, int]]:
        """Return (term, start, end) for every token of a text; offsets count Python characters."""
        return self._texts.offsets(text)

    # -- queries ---------------------------------------------------------------------------------------------------

    def text_query(self, text: str, fields: Mapping[str, float]) -> Any:
        """Return the bag-of-words query of a plain text, as Anserini builds it; no character has a meaning."""
        text = replace_surrogates(text)
        if len(fields) == 1 and next(iter(fields.values())) == 1.0:
            return self._generator.buildQuery(next(iter(fields)), self._analyzer, text)
        weights = java("java.util.HashMap")()
        for name, weight in fields.items():
            weights.put(name, java("java.lang.Float")(weight))
        return self._generator.buildQuery(weights, self._analyzer, text)

    def term_query(self, terms: Mapping[str, float], fields: Mapping[str, float]) -> Any:
        """Return the query of analysed terms with weights, in the mapping's order."""
        jpype = start()
        builder = java(_SEARCH + "BooleanQuery$Builder")()
        should = java(_SEARCH + "BooleanClause$Occur").SHOULD
        term_class, term_query = java("org.apache.lucene.index.Term"), java(_SEARCH + "TermQuery")
        boost = java(_SEARCH + "BoostQuery")
        for field, field_weight in fields.items():
            for term, weight in terms.items():
                query = boost(term_query(term_class(field, term)), jpype.JFloat(weight * field_weight))
                builder.add(query, should)
        return builder.build()

    def syntax_query(self, text: str, field: str) -> Any:
        """Return the query of a text in Lucene's query language.

        Raises:
            UsageError: the text does not parse; the message is Lucene's.
        """
        parser = java("org.apache.lucene.queryparser.classic.QueryParser")(field, self._analyzer)
        try:
            return parser.parse(replace_surrogates(text))
        except (
            java("org.apache.lucene.queryparser.classic.ParseException"),
            java("java.lang.IllegalArgumentException"),  # a broken regular expression
            java("org.apache.lucene.util.automaton.TooComplexToDeterminizeException"),
        ) as error:
            reason = " ".join(str(error.getMessage()).split())
            raise UsageError(f"query {text!r} is not in Lucene's query syntax: {reason}") from None

    # -- searching -------------------------------------------------------------------------------------------------

    def _searcher(self, model: tuple[str, float, float]) -> Any:
        with self._lock:
            if model not in self._searchers:
                jpype = start()
                name, a, b = model
                similarities = "org.apache.lucene.search.similarities."
                searcher = java(_SEARCH + "IndexSearcher")(self._reader)
                try:
                    if name == "bm25":
                        similarity = java(similarities + "BM25Similarity")(jpype.JFloat(a), jpype.JFloat(b))
                    else:
                        similarity = java(similarities + "LMDirichletSimilarity")(jpype.JFloat(a))
                except java("java.lang.IllegalArgumentException") as error:  # finite, but not as a 32-bit float
                    raise UsageError(f"{name}: {error.getMessage()}") from None
                searcher.setSimilarity(similarity)
                self._searchers[model] = searcher
            return self._searchers[model]

    def search(self, query: Any, k: int, model: tuple[str, float, float], *, ties: str = "row") -> Hits:
        """Return the best `k` documents.

        Args:
            query: from one of the query makers.
            k: how many, at least 1.
            model: ``("bm25", k1, b)`` or ``("ql", mu, 0)``.
            ties: ``row`` keeps equal scores in document order; ``docid`` orders them by ascending id string.

        Raises:
            UsageError: the query (in Lucene's syntax) would match too many terms, or the model's numbers are out of range.
            CorruptIndexError: Lucene finds a file damaged.
        """
        if not self.max_doc:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        searcher = self._searcher(model)
        count = min(k, self.max_doc)
        with java_errors(self.folder):
            try:
                if ties == "docid":
                    hits = searcher.search(query, count, self._docid_sort, True).scoreDocs
                else:
                    hits = searcher.search(query, count).scoreDocs
            except (
                java("org.apache.lucene.util.automaton.TooComplexToDeterminizeException"),
                java(_SEARCH + "IndexSearcher$TooManyClauses"),
            ) as error:
                raise UsageError(f"the query is too complex: {error.getMessage()}") from None
        return self._transfer(hits)

    @cached_property
    def _docid_sort(self) -> Any:
        sort_field = java(_SEARCH + "SortField")
        by_id = sort_field("id", java(_SEARCH + "SortField$Type").STRING_VAL)
        return java(_SEARCH + "Sort")(start().JArray(sort_field)([sort_field.FIELD_SCORE, by_id]))

    def _transfer(self, hits: Any) -> Hits:
        jpype = start()
        docs, scores = jpype.JArray(jpype.JInt)(len(hits)), jpype.JArray(jpype.JFloat)(len(hits))
        if len(hits):
            java("tamis.Hits").split(hits, docs, scores)
        return np.array(docs, np.int32), np.array(scores, np.float32)

    def score(self, query: Any, docs: NDArray[np.int32], model: tuple[str, float, float]) -> NDArray[np.float32]:
        """Return the score of every document in `docs` for `query`; 0 where it does not match."""
        jpype = start()
        if not len(docs):
            return np.zeros(0, np.float32)
        searcher = self._searcher(model)
        numbers = jpype.JArray(jpype.JInt)(len(docs))
        numbers[:] = docs
        given = java("tamis.Hits").of(numbers)
        total = java(_SEARCH + "TotalHits")(len(docs), java(_SEARCH + "TotalHits$Relation").EQUAL_TO)
        first = java(_SEARCH + "TopDocs")(total, given)
        rescored = java(_SEARCH + "QueryRescorer").rescore(searcher, first, query, 1.0, len(docs))
        found, scores = self._transfer(rescored.scoreDocs)
        back = np.argsort(found)
        return scores[back][np.searchsorted(found[back], docs)]

    # -- statistics and documents ----------------------------------------------------------------------------------

    def document_frequencies(self, field: str, terms: Sequence[str]) -> dict[str, int]:
        """Return the document frequency of every term; remembered, since the reader never changes."""
        missing = [term for term in terms if (field, term) not in self._frequencies]
        if missing:
            jpype = start()
            counts = java("tamis.Hits").frequencies(self._reader, field, jpype.JArray(jpype.JString)(missing))
            self._frequencies.update(zip(((field, term) for term in missing), map(int, counts), strict=True))
        return {term: self._frequencies[field, term] for term in terms}

    def term_vector(self, doc: int, field: str) -> dict[str, int] | None:
        """Return term → frequency of one document, or None where the index stores no vector for it."""
        terms = self._reader.termVectors().get(doc, field)
        if terms is None:
            return None
        jpype = start()
        size = int(terms.size())
        counts = jpype.JArray(jpype.JLong)(size)
        lines = str(java("tamis.Hits").vector(terms.iterator(), counts))
        names = lines.split("\n") if size else []
        return dict(zip(names, np.array(counts, np.int64).tolist(), strict=True))

    def stored(self, doc: int, field: str) -> str | None:
        """Return a stored field of one document."""
        value = self._reader.storedFields().document(doc).get(field)
        return None if value is None else str(value)

    def doc_of(self, doc_id: str) -> int:
        """Return the document number of an id, -1 where the index does not hold it."""
        searcher = self._searcher(("bm25", 0.9, 0.4))
        term = java("org.apache.lucene.index.Term")("id", doc_id)
        hits = searcher.search(java(_SEARCH + "TermQuery")(term), 1).scoreDocs
        return int(hits[0].doc) if len(hits) else -1
