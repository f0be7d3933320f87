"""A sparse part as Anserini's JSON vector collection: a line ``{"id": …, "contents": …, "vector": {token: whole weight}}`` a row.

Anserini repeats a token as often as it weighs and cuts fractions off, so weights are made whole here first, by

    round(weight / range × 256)         range 5, halves up, without an upper limit: what uniCOIL's and SPLADE++'s collections have

or as they are where the part's weights are whole already, or by any other factor and rule (`tamis.encoders.whole_weights`). What
becomes 0 is left out. A name of a dimension must have no white space in it, since Anserini parts tokens there: an underscore
stands in its place.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np

from tamis.encoders.whole_weights import ROUNDINGS, whole_weights
from tamis.errors import DataError, UsageError
from tamis.files import atomic_write
from tamis.indexer.sparse.part import SparsePart

RANGE, LEVELS = 5, 256
DEFAULT_FACTOR = LEVELS / RANGE
_SPACE = re.compile(r"\s+")


def tokens_of(part: SparsePart) -> list[str]:
    """Return the name of each dimension as a token of Anserini's; its number where it has no name.

    Raises:
        DataError: two names become one token.
    """
    names = part.names
    if names is None:
        return list(map(str, range(int(part.entry.facts["dimensions"]))))
    tokens = [_SPACE.sub("_", name) for name in names]
    if len(set(tokens)) != len(tokens):
        token, count = Counter(tokens).most_common(1)[0]
        raise DataError(
            f"{count} dimensions of part {part.name!r} would be called {token!r}, which Anserini could not tell apart"
        )
    return tokens


def export_vectors(
    part: SparsePart, path: Path, *, factor: float | None = None, rounding: str = "half-up", overwrite: bool = False
) -> dict[str, int]:
    """Write the live rows of a part, and say how many rows and weights were written and how many weights became 0.

    Args:
        part: a sparse part.
        path: the file.
        factor: of the weights; by default 1 where they are whole, else 256 / 5.
        rounding: one of `ROUNDINGS`.
        overwrite: replace a file that is there.

    Raises:
        OutputExistsError: the file is there.
        UsageError: the factor is not above 0, or there is no such rounding.
        DataError: see `tokens_of`; or the part lags behind its model.
    """
    whole = part.levels.binary or part.levels.whole
    factor = (1.0 if whole else DEFAULT_FACTOR) if factor is None else factor
    if not 0 < factor < float("inf"):
        raise UsageError(f"factor {factor}: a finite number above 0 is wanted")
    if rounding not in ROUNDINGS:
        raise UsageError(f"rounding {rounding!r}: one of {', '.join(ROUNDINGS)}")
    tokens, documents = tokens_of(part), part.documents
    live = documents.live
    count = sum(shard.rows for shard in part.entry.shards)
    positions = np.arange(count) if live is None else np.flatnonzero(live)
    rows, written, lost = documents.rows_at(positions), 0, 0
    with atomic_write(path, text=True, overwrite=overwrite) as out:
        for first in range(0, len(positions), 1024):
            some = slice(first, first + 1024)
            ids, texts = documents.ids(rows[some]), documents.texts(rows[some])
            for position, name, text in zip(positions[some].tolist(), ids, texts, strict=True):
                dims, weights = part.row(position)
                if len(dims) and dims[-1] >= len(tokens):
                    raise DataError(
                        f"document {name!r} has a dimension that part {part.name!r} has no name of, as its model gained some: "
                        "bring the part up to them with  tamis add-part"
                    )
                values = whole_weights(weights, factor, rounding)
                vector = {tokens[d]: v for d, v in zip(dims.tolist(), values.tolist(), strict=True) if v}
                written, lost = written + len(vector), lost + len(dims) - len(vector)
                json.dump({"id": name, "contents": text, "vector": vector}, out, ensure_ascii=False)
                out.write("\n")
    return {"rows": len(positions), "weights": written, "lost": lost}
