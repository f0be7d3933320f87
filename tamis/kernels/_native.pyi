from mmap import mmap
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

class DamagedError(ValueError): ...

class Index:
    def __init__(
        self,
        n_docs: int,
        n_codes: int,
        starts: Array,
        directory_starts: Array,
        directory: Array,
        offsets: Array,
        codes: Array | None,
        /,
    ) -> None: ...
    def search(
        self,
        kernel: str,
        offsets: Array,
        terms: Array,
        weights: Array | None,
        rows: Array | None,
        tables: Array | None,
        groups: Array | None,
        mask: Array | None,
        rounding: int,
        k: int,
        threads: int,
        nanoseconds: int,
        /,
    ) -> tuple[bytes, bytes, bytes, bytes]: ...
    def score(
        self,
        kernel: str,
        offsets: Array,
        terms: Array,
        weights: Array | None,
        rows: Array | None,
        tables: Array | None,
        groups: Array | None,
        once: bool,
        threads: int,
        doc_offsets: Array,
        docs: Array,
        scores: Array,
        stored: Rows | None,
        /,
    ) -> None: ...
    def check(self) -> None: ...
    def documents(self, first: int, last: int, out: Array, /) -> None: ...

class Rows:
    def __init__(self, term_dims: Array, shards: list[tuple[Array, Array, Array | None]], /) -> None: ...

class StringColumn:
    def __init__(self, blocks: list[tuple[memoryview | mmap, int, int, int]], /) -> None: ...
    def __len__(self) -> int: ...
    def take(self, positions: Array, /) -> list[str]: ...

def fill(
    terms: Array,
    docs: Array,
    triple_codes: Array | None,
    n_docs: int,
    n_codes: int,
    starts: Array,
    directory_starts: Array,
    directory: Array,
    offsets: Array,
    codes: Array | None,
    /,
) -> None: ...
def find_terms(text: Array, starts: Array, terms: list[bytes]) -> bytes: ...
def kernels() -> list[str]: ...
def dense_scan(
    kernel: str,
    kind: int,
    dim: int,
    rows: Array,
    factors: Array | None,
    query: Array,
    scale: float,
    base: float,
    correction: int,
    mask: Array | None,
    first: int,
    last: int,
    k: int,
    /,
) -> tuple[bytes, bytes, int]: ...
def dense_scores(
    kernel: str,
    kind: int,
    dim: int,
    rows: Array,
    factors: Array | None,
    query: Array,
    scale: float,
    base: float,
    correction: int,
    numbers: Array,
    /,
) -> bytes: ...
def late_scan(
    kernel: str, table: Array, width: int, ids: Array, id_bytes: int, offsets: Array, rows: Array, /
) -> bytes: ...
def late_scores(
    kernel: str,
    pairs: Array,
    lanes: int,
    centroids: Array,
    books: Array,
    bounds: Array,
    ids: Array,
    id_bytes: int,
    codes: Array,
    offsets: Array,
    rows: Array,
    /,
) -> bytes: ...
