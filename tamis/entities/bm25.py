"""``bm25``: entities by BM25 over titles and descriptions, on the kernel, without Java.

The query is the mention and the keywords of its context (`tamis.entities.keywords`); of a text without a mention all is context.
Words are analysed as in an English index. A block of the vocabulary is inverted once and kept beside it; statistics are those of
all blocks together. The formula is that of `tamis.retrievers.similarity`, k1 0.9 and b 0.4 unless given (the paper: 1.5, 0.75).
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.encoders.analysis.english import analyze, analyze_offsets
from tamis.entities.keywords import KEYWORDS, ClassifierKeywords, Keywords
from tamis.entities.linking import Candidate, Mention, linker_fingerprint
from tamis.entities.vocabulary import EntityVocabulary, VocabularyBlock
from tamis.errors import DataError
from tamis.families import Address, option, option_values, parse_options
from tamis.files import write_array
from tamis.kernels import Postings, build_postings, score, search
from tamis.kernels import Queries as KernelQueries
from tamis.kernels.searching import merge_hits
from tamis.retrievers.similarity import BM25Similarity, TermWeight, decoded_lengths

VERSION = 1
FOLDER = f"bm25-{VERSION}"
_ARRAYS = ("starts", "directory_starts", "directory", "offsets", "codes")
_LARGEST = 255


@dataclass(frozen=True)
class Bm25Options:
    """Options of ``bm25``."""

    depth: int = option(100, "how many entities a text gets", scope="model", ge=1)
    k1: float = option(0.9, "saturation of term frequency", scope="model", ge=0)
    b: float = option(0.4, "normalisation of length", scope="model", ge=0, le=1)
    keywords: int = option(KEYWORDS, "how many words of the context are asked for", scope="model", ge=0)
    classifier: str | None = option(None, "checkpoint of a token classifier that chooses them", scope="model")


class InvertedBlock:
    """The postings of one block of a vocabulary, kept beside it where that can be written.

    Args:
        vocabulary: of the block.
        block: it.
    """

    def __init__(self, vocabulary: EntityVocabulary, block: VocabularyBlock) -> None:
        folder = block.cached(FOLDER)
        if not folder.is_dir():
            made = _invert(vocabulary.texts(block))
            if not _keep(made, folder):
                self._take(*made)
                return
        arrays = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
        self._take((folder / "terms.txt").read_text("utf-8").split("\n")[:-1], arrays)

    def _take(self, terms: Sequence[str], arrays: dict[str, NDArray[Any]]) -> None:
        self.numbers = {term: number for number, term in enumerate(terms)}
        self.frequencies, self.lengths = arrays["frequencies"], arrays["lengths"]
        docs, self.tokens = (int(value) for value in arrays["totals"])
        self.docs = docs
        self.postings = Postings(docs, len(self.frequencies), *(arrays[name] for name in _ARRAYS))

    def holding(self, term: str) -> int:
        """Return how many entities hold a term."""
        number = self.numbers.get(term)
        return 0 if number is None else int(self.postings.frequencies(np.array([number]))[0])


def _invert(texts: Sequence[str]) -> tuple[list[str], dict[str, NDArray[Any]]]:
    known, terms, docs, pairs, tokens = dict[str, int](), list[int](), list[int](), list[int](), 0
    for place, text in enumerate(texts):
        words = analyze(text)
        tokens += len(words)
        length = _length_byte(len(words)) << 8
        for term, count in Counter(words).items():
            terms.append(known.setdefault(term, len(known)))
            docs.append(place)
            pairs.append(length | min(count, _LARGEST))
    distinct, codes = np.unique(np.array(pairs, np.int64), return_inverse=True)
    sizes: dict[str, Any] = {"n_docs": len(texts), "n_terms": len(known), "n_codes": max(len(distinct), 1)}
    postings = build_postings(np.array(terms, np.int64), np.array(docs, np.int64), codes.astype(np.int64), **sizes)
    arrays = {name: np.asarray(getattr(postings, name)) for name in _ARRAYS}
    held = distinct if len(distinct) else np.zeros(1, np.int64)
    arrays |= {"frequencies": held & _LARGEST, "lengths": (held >> 8).astype(np.uint8)}
    return list(known), {**arrays, "totals": np.array([len(texts), tokens], np.int64)}


def _length_byte(length: int) -> int:
    return int(np.searchsorted(decoded_lengths(), length, "right")) - 1


def _keep(made: tuple[list[str], dict[str, NDArray[Any]]], folder: Path) -> bool:
    """Write what was made, all or nothing; false where the vocabulary cannot be written."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        (temporary / "terms.txt").write_text("".join(f"{term}\n" for term in made[0]), "utf-8")
        for name, array in made[1].items():
            write_array(temporary / f"{name}.npy", array)
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        return folder.is_dir()  # another process may have been first
    return True


class Bm25Linker:
    """A `tamis.entities.linking.Linker`.

    Args:
        vocabulary: whose titles and descriptions are searched.
        options: see `Bm25Options`.
    """

    def __init__(self, vocabulary: EntityVocabulary, options: Bm25Options) -> None:
        self._options = options
        self._chosen: Keywords | None = None if options.classifier is None else ClassifierKeywords(options.classifier)
        chosen = None if self._chosen is None else self._chosen.identity
        settings = {**option_values(options), "classifier": chosen}
        self.fingerprint = linker_fingerprint(vocabulary, "bm25", VERSION, **settings)
        self._blocks = [InvertedBlock(vocabulary, block) for block in vocabulary.blocks]
        self._docs, self._tokens = sum(b.docs for b in self._blocks), sum(b.tokens for b in self._blocks)
        self._starts = [block.first for block in vocabulary.blocks]

    @cached_property
    def _tables(self) -> list[Any]:
        similarity = BM25Similarity(self._options.k1, self._options.b)
        return [similarity.tables(b.frequencies, b.lengths, self._docs, self._tokens) for b in self._blocks]

    def link(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        """See `Linker`."""
        asked, depth = self.queries(mentions), self._options.depth
        held = {term: self._holding(term) for terms in asked for term in terms}
        found = []
        for block, tables in zip(self._blocks, self._tables, strict=True):
            own = [[(term, n) for term, n in terms.items() if term in block.numbers] for terms in asked]
            rows = [tables.row(TermWeight(float(n), held[term])) for terms in own for term, n in terms]
            terms = np.array([block.numbers[term] for one in own for term, _ in one], np.int64)
            table = np.array(rows, np.float32).reshape(len(rows), len(block.frequencies))
            offsets = np.cumsum([0, *map(len, own)], dtype=np.int64)
            found.append(search(block.postings, KernelQueries(offsets, terms, None, table), depth))
        hits = merge_hits(found, len(asked), self._starts, depth)
        spans = [mention.span for mention in mentions]
        return [
            [Candidate(int(d), float(s), spans[i]) for d, s in zip(*hits[i], strict=True)] for i in range(len(asked))
        ]

    def queries(self, mentions: Sequence[Mention]) -> list[Counter[str]]:
        """Return the terms of each query, with how often each is asked for: the mention's, and once each the keywords."""
        chosen = self._chosen
        weights = None if chosen is None else chosen.weigh([mention.text for mention in mentions])
        asked = []
        for i, mention in enumerate(mentions):
            terms = analyze_offsets(mention.text)
            first, end = mention.span or (0, 0)
            own = Counter(term for term, start, stop in terms if start >= first and stop <= end)
            context = [one for one in terms if one[1] < first or one[2] > end] if mention.span else terms
            own.update(self._keywords(context, None if weights is None else weights[i]))
            asked.append(own)
        return asked

    def _keywords(
        self, context: Sequence[tuple[str, int, int]], weights: Sequence[tuple[int, int, float]] | None
    ) -> list[str]:
        """Return the distinct terms that weigh most; equal ones as they come."""
        scored = dict[str, float]()
        for term, first, end in context:
            if weights is not None:
                inside = [weight for start, stop, weight in weights if start < end and stop > first]
                scored[term] = max([scored.get(term, 0.0), *inside])
            elif term not in scored:
                scored[term] = self._idf(term)
        kept = [term for term in scored if scored[term] > 0]
        return sorted(kept, key=lambda term: -scored[term])[: self._options.keywords]

    def distant_keywords(self, text: str, entity: int) -> list[str]:
        """Return the terms of a text that add most to the score of an entity, heaviest first: labels to train a classifier by.

        Raises:
            DataError: there is no such entity.
        """
        number = int(np.searchsorted(self._starts, entity, "right")) - 1
        if number < 0 or entity >= self._docs:
            raise DataError(f"entity {entity} of {self._docs}")
        block, place = self._blocks[number], entity - self._starts[number]
        found = dict[str, float]()
        for term in dict.fromkeys(analyze(text)):
            held = block.numbers.get(term)
            if held is None:
                continue
            one = np.array([place])
            table = self._tables[number].row(TermWeight(1.0, self._holding(term)))[None]
            value = score(
                block.postings, KernelQueries(np.array([0, 1]), np.array([held]), None, table), np.array([0, 1]), one
            )
            if value[0] > 0:
                found[term] = float(value[0])
        return sorted(found, key=lambda term: -found[term])[:KEYWORDS]

    def _holding(self, term: str) -> int:
        return sum(block.holding(term) for block in self._blocks)

    def _idf(self, term: str) -> float:
        held = self._holding(term)
        return float(np.log(1 + (self._docs - held + 0.5) / (held + 0.5))) if held else 0.0


def load(address: Address, vocabulary: EntityVocabulary) -> Any:
    """Make the linker; errors as of `parse_options`, and of the classifier's checkpoint."""
    return Bm25Linker(vocabulary, parse_options(Bm25Options, address.options, of="linker bm25"))
