"""Static pruning of single postings, as the field did before whole passages: comparators for quality models.

``carmel`` (Carmel et al., SIGIR 2001), term by term: of a term whose k-th best posting scores z, postings above ε z stay; a
term with fewer than k postings stays whole. ``kl`` (Büttcher and Clarke, CIKM 2006), document by document: the terms that set a
document apart stay, the given share of them with the largest P(t|d) ln(P(t|d) / P(t|C)).

What is pruned is the impact part ``terms``, which BM25 and query likelihood search; the documents, Lucene's own index and encoded
parts stay whole. Frequencies that scores depend on stay those of the whole index, so that a posting that is left scores what it
did. Documents added later come with all their postings, and compaction brings all of them back.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import MissingResourceError, UnknownNameError
from tamis.events import Listener, ignore
from tamis.families import Address, option, parse_options
from tamis.files import sync_tree, write_array
from tamis.indexer.copying import copy_generation
from tamis.indexer.impact.shard import PAIRS, TERM_STARTS, TERMS, WHOLE, ImpactShard, ShardEntry, shard_files
from tamis.indexer.layout import PARTS, TERMS_PART, Manifest, publish_manifest
from tamis.indexer.segment import describe_file
from tamis.indexer.sizes import sizes_of
from tamis.indexer.writer import Writer
from tamis.kernels.building import PostingsBuilder
from tamis.kernels.postings import code_type
from tamis.pruning.cut import Cut, check_output, publish_index
from tamis.retrievers.similarity import decoded_lengths

if TYPE_CHECKING:
    from tamis.engine import Index

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class CarmelOptions:
    """Options of ``carmel``."""

    k: int = option(10, "results whose scores the threshold follows", ge=1)
    epsilon: float = option(0.5, "share of the k-th best score that a posting must exceed", ge=0, le=1)
    shift: bool = option(True, "take the least score of a term from all its scores first, without which little goes")
    k1: float = option(0.9, "of the BM25 that scores postings", ge=0)
    b: float = option(0.4, "of the BM25 that scores postings", ge=0, le=1)


@dataclass(frozen=True)
class KlOptions:
    """Options of ``kl``."""

    share: float = option(0.5, "of a document's distinct terms that stays, one at least", gt=0, le=1)


_METHODS: dict[str, type[Any]] = {"carmel": CarmelOptions, "kl": KlOptions}


@dataclass(frozen=True)
class Triples:
    """The postings of a shard, term by term.

    Attributes:
        starts: int64 [terms + 1]; where each term's postings begin.
        docs: int64 [postings].
        counts: int64 [postings]; term frequencies.
        lengths: uint8 [postings]; Lucene's length bytes.
    """

    starts: NDArray[np.int64]
    docs: NDArray[np.int64]
    counts: NDArray[np.int64]
    lengths: NDArray[np.uint8]

    @property
    def terms(self) -> NDArray[np.int64]:
        """The term of each posting."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def term_centric(
    scores: NDArray[np.floating[Any]], starts: NDArray[np.int64], k: int, epsilon: float, *, shift: bool = False
) -> Bools:
    """Return which postings stay under Carmel's rule.

    Args:
        scores: of each posting, comparable within a term, not negative.
        starts: int64 [terms + 1]; where each term's postings begin.
        k: rank whose score is the measure.
        epsilon: share of that score that must be exceeded.
        shift: take the least score of a term from all of its scores first.
    """
    frequencies = np.diff(starts)
    owners = np.repeat(np.arange(len(frequencies)), frequencies)
    descending = np.lexsort((-scores, owners))
    ranked = scores[descending].astype(np.float64)
    long = frequencies >= k
    bar = np.full(len(frequencies), -np.inf)
    bar[long] = epsilon * ranked[starts[:-1][long] + k - 1]
    if shift:
        least = ranked[starts[1:][long] - 1]
        bar[long] = epsilon * (ranked[starts[:-1][long] + k - 1] - least) + least
    kept: Bools = scores > bar[owners]
    if epsilon == 1:  # the k-th best itself would not exceed itself
        kept |= scores == bar[owners]
    return kept


def document_centric(postings: Triples, share: float) -> Bools:
    """Return which postings stay under Büttcher and Clarke's rule; of equal divergences the lower term stays.

    Args:
        postings: all of them.
        share: of each document's terms, rounded up.
    """
    terms, counts = postings.terms, postings.counts
    if not len(terms):
        return np.zeros(0, np.bool_)
    sizes = np.bincount(postings.docs, counts)
    common = np.bincount(terms, counts) / counts.sum()
    inside = counts / sizes[postings.docs]
    divergence = inside * np.log(inside / common[terms])
    order = np.lexsort((terms, -divergence, postings.docs))
    distinct = np.bincount(postings.docs)
    firsts = np.concatenate([[0], np.cumsum(distinct)])
    rank = np.empty(len(terms), np.int64)
    rank[order] = np.arange(len(terms)) - firsts[postings.docs[order]]
    allowed = np.ceil(share * distinct - 1e-9).astype(np.int64)
    kept: Bools = rank < np.maximum(allowed, 1)[postings.docs]
    return kept


def posting_rule(text: str) -> tuple[str, Callable[[Triples, float], Bools]]:
    """Return the canonical name and the rule of ``carmel?k=10&epsilon=0.5`` or ``kl?share=0.5``.

    The rule is given the postings and the average length of a document, and says which postings stay.

    Raises:
        UnknownNameError: no such method or option.
        UsageError: an option's value breaks its limits.
    """
    address = Address.parse(text)
    if address.family not in _METHODS or address.id:
        raise UnknownNameError("method of pruning postings", text.partition("?")[0], _METHODS)
    options = parse_options(_METHODS[address.family], address.options, of=address.family)

    def carmel(postings: Triples, average: float) -> Bools:
        lengths = decoded_lengths()[postings.lengths] / max(average, 1e-9)
        counts = postings.counts.astype(np.float64)
        # the idf is the same for all postings of a term
        scores = counts / (counts + options.k1 * (1 - options.b + options.b * lengths))
        return term_centric(scores, postings.starts, options.k, options.epsilon, shift=options.shift)

    def kl(postings: Triples, average: float) -> Bools:
        return document_centric(postings, options.share)

    return str(address), carmel if address.family == "carmel" else kl


def prune_postings(
    source: Index,
    output: Path,
    method: str,
    *,
    overwrite: bool = False,
    threads: int = 2,
    listener: Listener = ignore,
) -> tuple[Cut, float]:
    """Make an index in `output` whose impact part lacks postings; return what it did, and the share of postings that stayed.

    All postings are held in memory, some 60 bytes each.

    Args:
        source: an open index; it stays as it is.
        output: folder of the new index.
        method: see `posting_rule`.
        overwrite: replace an index that is in `output`.
        threads: of the writer.
        listener: hears of the progress.

    Raises:
        OutputExistsError: the folder is taken.
        MissingResourceError: the index has no impact part.
    """
    name, rule = posting_rule(method)
    check_output(output, overwrite=overwrite, source=source.path)
    if TERMS_PART not in source.manifest.parts:
        raise MissingResourceError(f"{source.path} has no part {TERMS_PART!r}, so there are no postings to prune")
    began = time.perf_counter()
    room = output.with_name(f".{output.name}.pruning")
    shutil.rmtree(room, ignore_errors=True)
    try:
        copy_generation(source.path, source.manifest, room)
        with Writer(room, threads=threads, listener=listener) as writer:
            writer.compact()  # one shard, nothing deleted
            made, share = _rewrite(room, writer.manifest, name, rule)
            writer.manifest = made
            writer.collect()
        publish_index(room, output, overwrite=overwrite)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return Cut(0, made.rows, sizes_of(source.manifest), sizes_of(made), time.perf_counter() - began, made), share


def _rewrite(
    folder: Path, manifest: Manifest, method: str, rule: Callable[[Triples, float], Bools]
) -> tuple[Manifest, float]:
    part = manifest.parts[TERMS_PART]
    identity = uuid.uuid4().hex
    fields = manifest.parts["lucene"]["fields"].values()
    average = sum(field["tokens"] for field in fields) / max(sum(field["docs"] for field in fields), 1)
    shards, kept, total, names = [], 0, 0, []
    for known in part["shards"]:
        entry = ShardEntry(**known)
        old = ImpactShard(folder / PARTS / part["id"] / entry.id, entry)
        place = folder / PARTS / identity / entry.id
        place.mkdir(parents=True)
        left = _rewrite_shard(old, place, rule, average)
        shards.append(replace(entry, postings=left).to_json())
        names += [f"{PARTS}/{identity}/{entry.id}/{file}" for file in shard_files(place)]
        kept, total = kept + left, total + entry.postings
    sync_tree(folder / PARTS)
    share = kept / total if total else 1.0
    pruned = {"method": method, "postings_kept": share}
    files = {name: file for name, file in manifest.files.items() if not name.startswith(f"{PARTS}/{part['id']}/")}
    files |= {name: describe_file(folder / name) for name in names}
    parts = {**manifest.parts, TERMS_PART: {**part, "id": identity, "shards": shards, "pruned": pruned}}
    made = replace(manifest, generation=manifest.generation + 1, parts=parts, files=files)
    publish_manifest(folder, made)
    return made, share


def _rewrite_shard(old: ImpactShard, folder: Path, rule: Callable[[Triples, float], Bools], average: float) -> int:
    """Write the shard that is left of one, and return how many postings it has."""
    postings = old.postings
    assert postings.codes is not None  # noqa: S101 - shards of this kind have codes
    counts, lengths = old.pairs
    codes = np.asarray(postings.codes)
    starts = np.asarray(postings.starts)
    given = Triples(starts, postings.documents(0, postings.n_terms), counts[codes], lengths[codes])
    kept = rule(given, average)
    terms = given.terms
    builder = PostingsBuilder(
        np.bincount(terms[kept], minlength=postings.n_terms),
        n_docs=postings.n_docs,
        n_codes=postings.n_codes,
        allocate=lambda name, length, kind: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (length,)),
    )
    builder.add(given.docs[kept], codes[kept].astype(code_type(postings.n_codes)))
    builder.finish()
    for name in (TERMS, TERM_STARTS, PAIRS):
        shutil.copyfile(old.folder / f"{name}.npy", folder / f"{name}.npy")
    occurrences = np.bincount(terms, given.counts, postings.n_terms).astype(np.int64)
    whole = old.whole if old.whole is not None else np.stack([np.diff(starts), occurrences])
    write_array(folder / WHOLE, whole.astype(np.min_scalar_type(int(whole.max(initial=0)))))
    return int(kept.sum())
