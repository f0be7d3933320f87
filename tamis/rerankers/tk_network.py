"""TK and TKL: word vectors in a little context, and soft counts of their similarities.

Hofstätter et al., "Interpretable & Time-Budget-Constrained Contextualization for Re-Ranking" (TK, ECAI 2020) and "Local
Self-Attention over Long Text for Efficient Document Retrieval" (TKL, SIGIR 2020), as their later code (matchmaker) has them,
whose weights' names these are. TK has two scorers: that of matchmaker, and that of the paper's own first code (`FirstTK`),
known by its weights. TKL reads a document in blocks that overlap, at positions that were learnt and are the same in every block,
saturates the counts of regions by what the query's word is worth and how long the region is (or takes their logarithm), and adds
up the best regions with their neighbours.

The best of a short document overlap: where no region is left, one of the first peak's counts again, as in that code. There a
neighbour behind the last region is another one if a longer document is in the batch; here it is the last one always.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

MUS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9)
SIGMA = 0.1
LEAST = 1e-10
DOCUMENT_STEPS = 500
"""By how many positions documents are set apart from queries."""
QUERY_POSITIONS = 30
"""Positions that TKL learns for queries."""
SATURATIONS = ("embedding", "log")
"""What TKL makes of counts; two more (idf, linear) are named in the released code, which cannot run them."""

BLOCK, OVERLAP = 40, 5
REGION, STRIDE = 30, 2
PEAKS, REACH = 3, REGION // STRIDE
NEIGHBOURS = (0, -1, 1, -2, 2)
EMPTY = -9900.0
"""Score of a region without tokens while the best are sought."""


@dataclass(frozen=True)
class TKGeometry:
    """Sizes of the network.

    Attributes:
        vocabulary: words, padding and the unknown word among them.
        width: of a word vector.
        heads: attention heads.
        layers: of the transformer.
        inner: width between the two matrices of its feed-forward layers.
        apart: by how many positions TK sets documents apart from queries.
        mixed: whether word vectors are mixed with those in context, or the latter taken alone.
        saturation: of TKL, one of `SATURATIONS`.
    """

    vocabulary: int
    width: int = 300
    heads: int = 10
    layers: int = 2
    inner: int = 300
    apart: int = DOCUMENT_STEPS
    mixed: bool = True
    saturation: str = "embedding"


def positions(count: int, width: int, first: int = 0) -> torch.Tensor:
    """Return sinusoids of positions, sines before cosines: float32 [count, width]."""
    half = width // 2
    steps = torch.arange(first, first + count, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(half) * (-math.log(1e4) / max(half - 1, 1)))
    found = torch.cat([torch.sin(steps * rates), torch.cos(steps * rates)], 1)
    return nn.functional.pad(found, (0, width - 2 * half))


def blocks_of(length: int, *, released: bool = False) -> tuple[int, int]:
    """Return how much padding stands behind a document of so many words, and how many blocks it has then.

    The released code leaves out the last words of documents of 41 to 44 words, 81 to 84 and so on, where none longer is in the
    batch; here they have a block, unless `released`.
    """
    right = BLOCK + 2 * OVERLAP - (length - OVERLAP) % BLOCK if length > OVERLAP else BLOCK + OVERLAP - length
    count = (OVERLAP + length + right - BLOCK - 2 * OVERLAP) // BLOCK + 1
    return (right, count) if released or count * BLOCK >= length else (right + BLOCK, count + 1)


def regions_of(length: int) -> int:
    """Return how many regions a document of so many words has."""
    return (blocks_of(length)[1] * BLOCK - REGION) // STRIDE + 1


class _Embedder(nn.Module):
    def __init__(self, geometry: TKGeometry) -> None:
        super().__init__()
        self.token_embedder_tokens = nn.Embedding(geometry.vocabulary, geometry.width, padding_idx=0)


class TK(nn.Module):
    """The network for passages.

    Args:
        geometry: its sizes.
    """

    def __init__(self, geometry: TKGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.word_embeddings = _Embedder(geometry)
        layer = nn.TransformerEncoderLayer(
            geometry.width, geometry.heads, geometry.inner, dropout=0.0, batch_first=True
        )
        self.contextualizer = nn.TransformerEncoder(layer, geometry.layers, enable_nested_tensor=False)
        if geometry.mixed:
            self.mixer = nn.Parameter(torch.full([1], 0.5))
        self._build()

    def _build(self) -> None:
        self.kernel_bin_weights = nn.Linear(len(MUS), 1, bias=False)
        self.kernel_alpha_scaler = nn.Parameter(torch.ones(1, 1, len(MUS)))

    def forward(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Return scores, differentiably: float32 [pairs].

        Args:
            queries: int64 [pairs, words], 0 where there is none.
            documents: int64 [pairs, words] likewise.
        """
        return self.score(*self.matches(queries, documents))

    def matches(self, queries: torch.Tensor, documents: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return contextual queries [pairs, words, width], cosines [pairs, words, words], and the masks of both sides."""
        asked, read = queries > 0, documents > 0
        width, apart = self.geometry.width, self.geometry.apart
        query = self._mixed(queries, asked, positions(queries.shape[1], width))
        document = self._mixed(documents, read, positions(documents.shape[1], width, apart))
        return query, _unit(query) @ _unit(document).transpose(1, 2), asked, read

    def score(
        self, query: torch.Tensor, cosines: torch.Tensor, asked: torch.Tensor, read: torch.Tensor
    ) -> torch.Tensor:
        """Return scores of what `matches` found."""
        scores: torch.Tensor = self.kernel_bin_weights(self._logs(cosines, asked, read))[:, 0]
        return scores

    def parts(self, queries: torch.Tensor, documents: torch.Tensor) -> dict[str, float]:
        """Return what each kernel adds to the score of one pair."""
        _, cosines, asked, read = self.matches(queries, documents)
        added = (self._logs(cosines, asked, read)[0] * self.kernel_bin_weights.weight[0]).tolist()
        return {f"similarities near {mu:g}": value for mu, value in zip(MUS, added, strict=True)}

    def _logs(self, cosines: torch.Tensor, asked: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of soft counts, summed over the query: float32 [pairs, kernels]."""
        sums = (kernels(cosines) * read[:, None, :, None]).sum(2)
        return (torch.log((sums * self.kernel_alpha_scaler).clamp(min=LEAST)) * asked[..., None]).sum(1)

    def _mixed(self, words: torch.Tensor, seen: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return word vectors mixed with those in context: [texts, words, width], 0 where there is no word.

        Args:
            words: int64 [texts, words].
            seen: where there are any.
            places: what stands for positions, float32 [words, width].
        """
        plain = self.word_embeddings.token_embedder_tokens(words)
        # attention over nothing is not a number: texts without words keep one place, and are masked below
        hidden = ~(seen | (~seen.any(1, keepdim=True) & (torch.arange(words.shape[1], device=words.device) == 0)))
        context = self.contextualizer(plain + places.to(plain.device), src_key_padding_mask=hidden)
        mixed: torch.Tensor = self.mixer * plain + (1 - self.mixer) * context if self.geometry.mixed else context
        return mixed * seen[..., None]


class FirstTK(TK):
    """The network for passages with the scorer of the paper's first code.

    Counts are scaled down, and weighed twice: their logarithms to base 2, and themselves for each word of the document. Positions
    of queries and documents are the same there.
    """

    def _build(self) -> None:
        self.nn_scaler = nn.Parameter(torch.full([1], 0.01))
        self.dense, self.dense_mean = (nn.Linear(len(MUS), 1, bias=False) for _ in range(2))
        self.dense_comb = nn.Linear(2, 1, bias=False)

    def score(
        self, query: torch.Tensor, cosines: torch.Tensor, asked: torch.Tensor, read: torch.Tensor
    ) -> torch.Tensor:
        """Return scores of what `matches` found."""
        logs, means = self._sums(cosines, asked, read)
        scores: torch.Tensor = self.dense_comb(torch.cat([self.dense(logs), self.dense_mean(means)], 1))[:, 0]
        return scores

    def parts(self, queries: torch.Tensor, documents: torch.Tensor) -> dict[str, float]:
        """Return what each kernel adds to the score of one pair, by both weighings."""
        _, cosines, asked, read = self.matches(queries, documents)
        logs, means = self._sums(cosines, asked, read)
        by_log, by_mean = self.dense_comb.weight[0]
        added = by_log * logs[0] * self.dense.weight[0] + by_mean * means[0] * self.dense_mean.weight[0]
        return {f"similarities near {mu:g}": value for mu, value in zip(MUS, added.tolist(), strict=True)}

    def _sums(
        self, cosines: torch.Tensor, asked: torch.Tensor, read: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logarithms of soft counts, and counts a word, both summed over the query: float32 [pairs, kernels]."""
        sums = (kernels(cosines) * read[:, None, :, None]).sum(2)
        scale = asked[..., None] * self.nn_scaler
        logs = (torch.log2(sums.clamp(min=LEAST)) * scale).sum(1)
        return logs, (sums / (read.sum(1) + 1)[:, None, None] * scale).sum(1)


class TKL(TK):
    """The network for long documents.

    Attributes:
        released: whether words are left out as in the released code, see `blocks_of`; those beside them still see them.
    """

    released = False

    def _build(self) -> None:
        width = self.geometry.width
        self.dense = nn.Linear(len(MUS), 1, bias=False)
        self.positional_features_q = nn.Parameter(positions(QUERY_POSITIONS, width)[None])
        self.positional_features_d = nn.Parameter(positions(BLOCK + 2 * OVERLAP, width, DOCUMENT_STEPS)[None])
        self.chunk_scoring = nn.Parameter(torch.ones(1, PEAKS * len(NEIGHBOURS)))
        if self.geometry.saturation == "log":
            self.kernel_mult = nn.Parameter(torch.ones(4, 1, 1, 1, len(MUS)))
            return
        self.sat_emb_reduce1 = nn.Linear(width, 1, bias=False)
        self.sat_normer = nn.LayerNorm(2)
        self.saturation_linear, self.saturation_linear2, self.saturation_linear3 = (nn.Linear(2, 1) for _ in range(3))
        for linear in (self.saturation_linear, self.saturation_linear2, self.saturation_linear3):
            nn.init.constant_(linear.bias, 100)
            nn.init.uniform_(linear.weight, -0.014, 0.014)

    def matches(self, queries: torch.Tensor, documents: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what `TK.matches` does; documents are of whole blocks."""
        asked = queries > 0
        query = self._mixed(queries, asked, self.positional_features_q[0, : queries.shape[1]])
        document, read = self._blocks(documents)
        return query, _unit(query) @ _unit(document).transpose(1, 2), asked, read

    def score(
        self, query: torch.Tensor, cosines: torch.Tensor, asked: torch.Tensor, read: torch.Tensor
    ) -> torch.Tensor:
        """Return scores of what `matches` found."""
        _, added = self._chosen(query, cosines, asked, read)
        return added.sum(1)

    def parts(self, queries: torch.Tensor, documents: torch.Tensor) -> dict[str, float]:
        """Return what each region that counts adds to the score of one pair; words are numbered from 1."""
        around, added = self._chosen(*self.matches(queries, documents))
        words, found = int((documents > 0).sum()), dict[str, float]()
        for region, value in zip(around[0].tolist(), added[0].tolist(), strict=True):
            first = STRIDE * region + 1
            if first <= words:  # others are empty, and add nothing
                name = f"words {first} to {min(first + REGION - 1, words)}"
                found[name] = found.get(name, 0.0) + value
        return found

    def _chosen(
        self, query: torch.Tensor, cosines: torch.Tensor, asked: torch.Tensor, read: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the regions that count, [pairs, peaks and neighbours], and what each adds."""
        scores, _ = self.regions(query, cosines, asked, read)
        counts = torch.tensor([regions_of(int(n)) for n in read.sum(1)], device=scores.device)[:, None]
        best = peaks(scores.detach(), counts)
        around = torch.cat([best + step for step in NEIGHBOURS], 1).clamp(min=0).minimum(counts - 1)
        chosen = scores.gather(1, around)
        return around, torch.where(chosen <= EMPTY, torch.zeros_like(chosen), chosen) * self.chunk_scoring

    def regions(
        self, query: torch.Tensor, cosines: torch.Tensor, asked: torch.Tensor, read: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the score of every region, `EMPTY` where it has no words: float32 [pairs, regions], and its words."""
        strength = kernels(cosines) * read[:, None, :, None]
        sums = strength.unfold(2, REGION, STRIDE).sum(-1)  # [pairs, query words, regions, kernels]
        words = read.float().unfold(1, REGION, STRIDE).sum(-1)
        saturated = self._saturated(query, sums, words) * asked[:, :, None, None]
        scores = self.dense(saturated.sum(1))[..., 0]
        return torch.where(words > 0, scores, torch.full_like(scores, EMPTY)), words

    def _saturated(self, query: torch.Tensor, sums: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Return what counts `sums` [pairs, query words, regions, kernels] are worth in regions of so many `words`."""
        if self.geometry.saturation == "log":
            return torch.log((sums * self.kernel_mult[0]).clamp(min=LEAST))
        worth = self.sat_emb_reduce1(query)[:, :, None].expand(-1, -1, words.shape[1], -1)
        given = self.sat_normer(torch.cat([worth, words[:, None, :, None].expand_as(worth)], -1))
        a, b, c = (
            linear(given) for linear in (self.saturation_linear, self.saturation_linear2, self.saturation_linear3)
        )
        found: torch.Tensor = a * sums.clamp(min=LEAST) ** (1 / b) - c
        return found

    def _blocks(self, documents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return documents in the context of their blocks, [pairs, blocks * `BLOCK`, width], and where there are words."""
        right, count = blocks_of(documents.shape[1])
        blocks = nn.functional.pad(documents, (OVERLAP, right)).unfold(1, BLOCK + 2 * OVERLAP, BLOCK)
        pairs, size = len(documents), BLOCK + 2 * OVERLAP
        flat = blocks.reshape(pairs * count, size)
        inner = slice(OVERLAP, OVERLAP + BLOCK)
        full = (flat[:, inner] > 0).any(1)  # others have nothing to say
        whole = self.chunk_scoring.new_zeros(pairs * count, BLOCK, self.geometry.width)
        if full.any():
            context = self._mixed(flat[full], flat[full] > 0, self.positional_features_d[0])[:, inner]
            whole = whole.to(context.dtype).index_put((full.nonzero()[:, 0],), context)
        read = (flat[:, inner] > 0).view(pairs, count * BLOCK)
        if self.released:
            kept = [blocks_of(int(n), released=True)[1] * BLOCK for n in read.sum(1)]
            read = read & (
                torch.arange(count * BLOCK, device=read.device) < torch.tensor(kept, device=read.device)[:, None]
            )
        return whole.view(pairs, count * BLOCK, -1), read


def kernels(cosines: torch.Tensor) -> torch.Tensor:
    """Return how close cosines are to each of `MUS`: [..., kernels]."""
    mus = torch.tensor(MUS, device=cosines.device)
    return torch.exp(-((cosines[..., None] - mus) ** 2) / (2 * SIGMA**2))


def peaks(scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the best regions one after another, each at least `REACH` from the others where there are such.

    Args:
        scores: float32 [pairs, regions].
        counts: int64 [pairs, 1], how many regions each document has.

    Returns:
        int64 [pairs, `PEAKS`].
    """
    places = torch.arange(scores.shape[1], device=scores.device)
    left, found = scores.masked_fill(places >= counts, -torch.inf), []
    for step in range(PEAKS):
        best = left.argmax(1, keepdim=True)
        found.append(best)
        near = ((places - best).abs() < REACH) & (places < counts)
        left = left.masked_fill(near, EMPTY - 101 - step)
    return torch.cat(found, 1)


def _unit(vectors: torch.Tensor) -> Any:
    return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-13)
