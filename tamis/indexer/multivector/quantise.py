"""What a codec of token vectors learns: centroids, a turn of the space, groups of dimensions and their codewords.

A product quantiser of residuals (Jégou, Douze and Schmid, TPAMI 2011) after a turn that decorrelates them (Ge et al., CVPR 2013:
the parametric form). Errors count by what they do to scores: the space is first stretched by the root of the tokens' second
moment, as queries come from the same model and point where tokens point, so that a squared distance there is the expected
squared error of an inner product. A codeword has eight bits; dimensions are dealt to codewords so that each has as much to say
as the next, by reverse water-filling (Cover and Thomas, Elements of Information Theory, 10.3.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORDS = 256
"""Codewords of a group: a byte says which."""
WIDEST = 8
"""Dimensions of a group, at most: what one vector register of int16 holds."""
ROUNDS, WORD_ROUNDS = 6, 10
_RIDGE = 0.5
_BLOCK, _SMALL_BLOCK = 1 << 13, 1 << 11

Floats = NDArray[np.float32]


def nearest(points: Floats, centres: Floats) -> NDArray[np.int64]:
    """Return the centre at the least distance from each point, the lowest among equals."""
    halves = np.einsum("ij,ij->i", centres, centres) / np.float32(2)
    block = _BLOCK if points.shape[1] > WIDEST else _SMALL_BLOCK  # products that stay in a cache
    found = np.zeros(len(points), np.int64)
    for first in range(0, len(points), block):
        span = slice(first, first + block)
        found[span] = (points[span] @ centres.T - halves).argmax(1)
    return found


def k_means(points: Floats, count: int, rounds: int, random: np.random.Generator) -> Floats:
    """Return `count` centres, float32 [count, dimensions]; one without points stays where it is.

    Args:
        points: float32 [points, dimensions]; where they are fewer than the centres, the rest of the centres are zero.
        count: at least 1.
        rounds: of Lloyd's algorithm.
        random: draws the first centres from the points.
    """
    held = min(count, len(points))
    centres = np.zeros((count, points.shape[1]), np.float32)
    centres[:held] = points[np.sort(random.choice(len(points), held, replace=False))] if held else 0
    for _ in range(rounds if held else 0):
        owners = nearest(points, centres)
        order = np.argsort(owners, kind="stable")
        owned, starts = np.unique(owners[order], return_index=True)
        sums = np.add.reduceat(points[order], starts, axis=0, dtype=np.float64)
        centres[owned] = (sums / np.diff(np.append(starts, len(points)))[:, None]).astype(np.float32)
    return centres


def stretch(tokens: Floats) -> NDArray[np.float64]:
    """Return the symmetric root of the tokens' second moment, float64 [dimensions, dimensions].

    Half of the mean is added to every direction: queries may point where these tokens seldom do.
    """
    dimensions = tokens.shape[1]
    if not len(tokens):
        return np.eye(dimensions)
    moment = tokens.T.astype(np.float64) @ tokens / len(tokens)
    moment += np.eye(dimensions) * max(_RIDGE * np.trace(moment) / dimensions, 1e-12)
    values, vectors = np.linalg.eigh(moment)
    root: NDArray[np.float64] = (vectors * np.sqrt(values)) @ vectors.T
    return root


def principal(residuals: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return variances, largest first, and the directions that have them, as columns."""
    moment = residuals.T.astype(np.float64) @ residuals / max(len(residuals), 1)
    values, vectors = np.linalg.eigh(moment)
    return np.maximum(values[::-1], 0), np.ascontiguousarray(vectors[:, ::-1])


def rates(variances: NDArray[np.float64], bits: float) -> NDArray[np.float64]:
    """Return the bits that each of some independent Gaussian variables deserves, `bits` in all."""
    floor = variances.max(initial=0) * 1e-9 + 1e-300
    variances = np.maximum(variances, floor)
    low, high = np.log2(floor) - 64 - 2 * bits, np.log2(variances.max(initial=floor))
    for _ in range(100):
        level = (low + high) / 2
        if np.maximum(0, (np.log2(variances) - level) / 2).sum() > bits:
            low = level
        else:
            high = level
    deserved: NDArray[np.float64] = np.maximum(0, (np.log2(variances) - high) / 2)
    return deserved


def deal(deserved: NDArray[np.float64], groups: int) -> list[list[int]]:
    """Deal dimensions to groups of about the same bits in all, at most `WIDEST` and at least one dimension each.

    Args:
        deserved: bits of each dimension.
        groups: at most as many as there are dimensions, at least an eighth of them.
    """
    dealt: list[list[int]] = [[] for _ in range(groups)]
    loads = [0.0] * groups
    for dimension in np.argsort(-deserved, kind="stable").tolist():
        open_groups = (i for i in range(groups) if len(dealt[i]) < WIDEST)
        least = min(open_groups, key=lambda i: (len(dealt[i]) > 0, loads[i], len(dealt[i])))
        dealt[least].append(dimension)
        loads[least] += float(deserved[dimension])
    return dealt
