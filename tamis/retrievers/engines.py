"""Which engine answers a bag-of-words model: the sparse kernel where it can, Lucene where it must or is asked for."""

from __future__ import annotations

from typing import Any

from tamis.errors import MissingResourceError, UsageError
from tamis.families import Address
from tamis.indexer.layout import LUCENE, TERMS_PART
from tamis.retrievers.lucene import LuceneRetriever, Model
from tamis.retrievers.options import TermOptions
from tamis.retrievers.similarity import Similarity
from tamis.retrievers.terms import TermRetriever
from tamis.stages import PartSource


def open_term_retriever(
    source: PartSource, address: Address, options: TermOptions, similarity: Similarity, model: Model
) -> TermRetriever | LuceneRetriever:
    """Open a model over the part that its address names: ``terms`` (the kernel), ``lucene``, or none of them.

    Args:
        source: the index.
        address: its id is the part's name.
        options: the model's options; ``engine=auto`` takes the kernel if the index has its part and the query is plain text.
        similarity: the formula, for the kernel.
        model: the formula, for Lucene.

    Raises:
        MissingResourceError: the part is not there.
        UsageError: the options exclude each other.
    """
    feedback = options.feedback()
    part = _part(source, address.id, options)
    if part.kind == "impact":
        return TermRetriever(
            part,
            similarity,
            ties=options.ties,
            fields=options.fields,
            feedback=feedback,
            deadline=options.deadline,
        )
    if part.kind != "lucene":
        raise MissingResourceError(f"part {address.id!r} is of kind {part.kind!r}: terms or lucene is needed")
    if options.deadline is not None:
        raise UsageError("deadline= needs the kernel: Lucene cannot be stopped in the middle of a query")
    return LuceneRetriever(
        part, model, ties=options.ties, fields=options.fields, syntax=options.syntax, feedback=feedback
    )


def _part(source: PartSource, name: str, options: TermOptions) -> Any:
    if options.syntax == "lucene" and options.engine == "kernel":
        raise UsageError("syntax=lucene needs engine=lucene: only Lucene reads its query language")
    if name:
        part = source.part(name)
        wanted = {"kernel": "impact", "lucene": "lucene"}.get(options.engine, part.kind)
        if options.syntax == "lucene":
            wanted = "lucene"
        if part.kind != wanted:
            raise UsageError(f"part {name!r} is of kind {part.kind!r}, and the options ask for one of kind {wanted!r}")
        return part
    if options.engine == "lucene" or options.syntax == "lucene":
        return source.part(LUCENE)
    try:
        return source.part(TERMS_PART)
    except MissingResourceError:
        if options.engine == "kernel":
            raise
        return source.part(LUCENE)
