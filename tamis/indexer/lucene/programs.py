"""The loops that a reader runs inside Java, built once a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tamis.indexer.lucene.loops import Loop

_SEARCH = "org.apache.lucene.search."
_INDEX = "org.apache.lucene.index."
_STRINGS = "[Ljava.lang.String;"


@cache
def split_hits() -> Callable[..., None]:
    """Program (hits, docs, scores): ScoreDoc[] into document numbers and scores."""
    loop = Loop(hits=f"[L{_SEARCH}ScoreDoc;", docs="[I", scores="[F")
    hit = loop.item("hits", loop.index)
    return loop.build(
        loop.length("hits"),
        loop.sequence(
            loop.store("docs", loop.index, loop.field(hit, "doc", "int")),
            loop.store("scores", loop.index, loop.field(hit, "score", "float")),
        ),
    )


@cache
def make_hits() -> Callable[..., None]:
    """Program (docs, zero, hits): document numbers into ScoreDoc[] that all score zero[0]."""
    loop = Loop(docs="[I", zero="[F", hits=f"[L{_SEARCH}ScoreDoc;")
    score = loop.item("zero", loop.subtract(loop.index, loop.index))
    hit = loop.new(f"{_SEARCH}ScoreDoc", "int,float", loop.item("docs", loop.index), score)
    return loop.build(loop.length("docs"), loop.store("hits", loop.index, hit))


@cache
def count_documents() -> Callable[..., None]:
    """Program (reader, field, terms, counts): document frequency of every term of a field."""
    loop = Loop(reader=f"{_INDEX}IndexReader", field="java.lang.String", terms=_STRINGS, counts="[I")
    kinds = "java.lang.String,java.lang.String"
    term = loop.new(f"{_INDEX}Term", kinds, loop.parameter("field"), loop.item("terms", loop.index))
    count = loop.call(loop.parameter("reader"), f"{_INDEX}IndexReader", "docFreq", f"int({_INDEX}Term)", term)
    return loop.build(loop.length("terms"), loop.store("counts", loop.index, count))


@cache
def read_vector() -> Callable[..., None]:
    """Program (iterator, terms, counts): the terms of a term vector and their frequencies."""
    loop = Loop(iterator=f"{_INDEX}TermsEnum", terms=_STRINGS, counts="[J")
    iterator, owner = loop.parameter("iterator"), f"{_INDEX}TermsEnum"
    term = loop.call(iterator, owner, "next", "org.apache.lucene.util.BytesRef()")
    text = loop.call(term, "org.apache.lucene.util.BytesRef", "utf8ToString", "java.lang.String()")
    count = loop.call(iterator, owner, "totalTermFreq", "long()")
    return loop.build(
        loop.length("terms"),
        loop.sequence(loop.store("terms", loop.index, text), loop.store("counts", loop.index, count)),
    )
