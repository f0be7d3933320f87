"""Pipelines as values: nodes with Python's operators, equal when they mean the same text.

A node says what is to be done and knows no index; `str()` gives its canonical spelling, which `tamis.pipeline.parse` reads back
to an equal node (an opened stage object excepted: it has no spelling). Construction normalises what is associative, so that
``(a + b) + c`` equals ``a + (b + c)``, ``a >> (b >> c)`` equals ``(a >> b) >> c``, and ``2 * (3 * a)`` equals ``6 * a``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from tamis.errors import UnknownNameError, UsageError
from tamis.families import Address
from tamis.ranking import check_k
from tamis.retrievers.fusion import MISSING, NORMS
from tamis.stages import QueryStage, Rescorer, Retriever

_CHAIN, _SUM, _PRODUCT, _ATOM = range(4)  # how tightly a node's spelling binds
_BARE = re.compile(r"""(?:[^\W\d]|[~/]|\.{1,2}/)[^\s,()"']*""")
_KEYWORD = re.compile(r"\w+=")


class Pipeline:
    """A retrieval pipeline: the base of all nodes, and where the operators live.

    - ``a >> b``: `b` re-scores what `a` found (or works on the queries that `a` rewrote);
    - ``a % k``: the first `k` results of `a`;
    - ``w * a``: scores times a number; ``a + b``: scores added, a missing document adding 0;
    - `rrf`, `interleave`, `wsum`: other fusions.

    The other operand may be a node, a pipeline string, or an opened stage object (see `tamis.stages`). The first operand of a
    chain must be a node: start with `Pipeline.of`, for example ``Pipeline.of("bm25") % 100 >> my_reranker``.
    """

    __slots__ = ()
    __array_ufunc__: ClassVar[None] = None  # numpy numbers leave ``w * a`` to this class

    @staticmethod
    def of(value: PipelineLike) -> Pipeline:
        """Return `value` as a pipeline: itself, a string parsed, or an opened stage object wrapped.

        Raises:
            ParseError: a string that is not a pipeline; names in it are not looked up (see `tamis.pipeline.check`).
            UsageError: anything else that is not a stage.
        """
        if isinstance(value, Pipeline):
            return value
        if isinstance(value, str):
            from tamis.pipeline.grammar import parse  # the grammar builds these nodes

            return parse(value)
        return Opened(value)

    def children(self) -> tuple[Pipeline, ...]:
        """Return the pipelines that this one is made of."""
        return ()

    def walk(self) -> Iterator[Pipeline]:
        """Yield this node and all below it, from left to right."""
        yield self
        for child in self.children():
            yield from child.walk()

    def __rshift__(self, other: PipelineLike) -> Then:
        return Then(self, Pipeline.of(other))

    def __rrshift__(self, other: PipelineLike) -> Then:
        return Then(Pipeline.of(other), self)

    def __mod__(self, k: int) -> Cut:
        return Cut(self, k)

    def __mul__(self, weight: float) -> Scale:
        return Scale(self, weight)

    __rmul__ = __mul__

    def __add__(self, other: PipelineLike) -> Sum:
        return Sum((self, Pipeline.of(other)))

    def __radd__(self, other: PipelineLike) -> Sum:
        return Sum((Pipeline.of(other), self))


PipelineLike: TypeAlias = "Pipeline | str | Retriever | Rescorer | QueryStage"
"""What stands for a pipeline: a node, a pipeline string, or an opened stage object."""


@dataclass(frozen=True, slots=True)
class Model(Pipeline):
    """A model named by its address (see `tamis.families.Address`), kept in its canonical spelling."""

    address: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _canonical(self.address))

    def __str__(self) -> str:
        if _BARE.fullmatch(self.address) and not _KEYWORD.match(self.address):
            return self.address
        return '"' + re.sub(r'([\\"])', r"\\\1", self.address) + '"'


@dataclass(frozen=True, slots=True, eq=False)
class Opened(Pipeline):
    """A stage object that the caller opened; equal only to a node of the same object."""

    stage: Any

    def __post_init__(self) -> None:
        if isinstance(self.stage, type):
            raise UsageError(f"{self.stage.__name__} is a class: a pipeline needs an instance of it")
        if not isinstance(self.stage, (Retriever, Rescorer, QueryStage)):
            raise UsageError(
                f"{self.stage!r} cannot stand in a pipeline: use a pipeline, an address such as 'bm25', or an object "
                "with retrieve(), rescore() or rewrite() (see tamis.stages)"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opened) and other.stage is self.stage

    def __hash__(self) -> int:
        return id(self.stage)

    def __str__(self) -> str:
        return f"<{type(self.stage).__name__} object>"


@dataclass(frozen=True, slots=True)
class Cut(Pipeline):
    """The first `k` results a query."""

    inner: Pipeline
    k: int

    def __post_init__(self) -> None:
        check_k(self.k)
        object.__setattr__(self, "k", int(self.k))

    def children(self) -> tuple[Pipeline, ...]:
        """Return the pipeline that is cut."""
        return (self.inner,)

    def __str__(self) -> str:
        return f"{_spell(self.inner, _PRODUCT)} % {self.k}"


@dataclass(frozen=True, slots=True)
class Then(Pipeline):
    """One stage after another; chains lean left."""

    first: Pipeline
    second: Pipeline

    def __post_init__(self) -> None:
        if isinstance(self.second, Then):
            object.__setattr__(self, "first", Then(self.first, self.second.first))
            object.__setattr__(self, "second", self.second.second)

    def children(self) -> tuple[Pipeline, ...]:
        """Return both pipelines."""
        return self.first, self.second

    def __str__(self) -> str:
        return f"{_spell(self.first, _CHAIN)} >> {_spell(self.second, _SUM)}"


@dataclass(frozen=True, slots=True)
class Scale(Pipeline):
    """Scores times a finite number; a weight where it stands directly inside a sum."""

    inner: Pipeline
    weight: float

    def __post_init__(self) -> None:
        try:
            weight = float(self.weight)
        except (TypeError, ValueError):
            raise UsageError(f"{self.weight!r} is no weight: a pipeline is multiplied by a number") from None
        if isinstance(self.inner, Scale):
            weight *= self.inner.weight
            object.__setattr__(self, "inner", self.inner.inner)
        if not math.isfinite(weight):
            raise UsageError(f"the weight {weight} is not a finite number")
        object.__setattr__(self, "weight", weight + 0.0)  # -0.0 and 0.0 have one spelling

    def children(self) -> tuple[Pipeline, ...]:
        """Return the pipeline that is scaled."""
        return (self.inner,)

    def __str__(self) -> str:
        return f"{repr(self.weight).removesuffix('.0')}*{_spell(self.inner, _ATOM)}"


@dataclass(frozen=True, slots=True)
class Sum(Pipeline):
    """Weighted sum of scores; see `wsum`. A plain sum inside a plain sum is dissolved into it."""

    inputs: tuple[Pipeline, ...]
    norm: str = "none"
    missing: str = "zero"

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("wsum: no pipeline to add: at least one is needed")
        for kind, name, valid in (("norm of wsum", self.norm, NORMS), ("missing of wsum", self.missing, MISSING)):
            if name not in valid:
                raise UnknownNameError(kind, name, valid)
        if self.plain:
            flat = (i.inputs if isinstance(i, Sum) and i.plain else (i,) for i in self.inputs)
            object.__setattr__(self, "inputs", tuple(i for group in flat for i in group))

    @property
    def plain(self) -> bool:
        """Whether scores are added as they are, as ``+`` does."""
        return self.norm == "none" and self.missing == "zero"

    @property
    def weighted(self) -> list[tuple[float, Pipeline]]:
        """Each input with its weight, 1 where it has none; ``w * a % k`` weighs ``a % k``."""
        return [_split_weight(i) for i in self.inputs]

    def children(self) -> tuple[Pipeline, ...]:
        """Return the summands."""
        return self.inputs

    def __str__(self) -> str:
        if self.plain and len(self.inputs) > 1:
            return " + ".join(_spell(i, _PRODUCT) for i in self.inputs)
        options = [f"norm={self.norm}"] if self.norm != "none" else []
        options += [f"missing={self.missing}"] if self.missing != "zero" else []
        return f"wsum({', '.join([*map(str, self.inputs), *options])})"


@dataclass(frozen=True, slots=True)
class Rrf(Pipeline):
    """Reciprocal rank fusion; see `rrf`."""

    inputs: tuple[Pipeline, ...]
    k: int = 60

    def __post_init__(self) -> None:
        _check_ranked("rrf", self.inputs)
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 0:
            raise UsageError(f"rrf: k={self.k!r} must be a whole number of at least 0")

    def children(self) -> tuple[Pipeline, ...]:
        """Return the fused pipelines."""
        return self.inputs

    def __str__(self) -> str:
        return f"rrf({', '.join(map(str, self.inputs))}{f', k={self.k}' if self.k != 60 else ''})"


@dataclass(frozen=True, slots=True)
class Interleave(Pipeline):
    """Round robin over the inputs; see `interleave`."""

    inputs: tuple[Pipeline, ...]

    def __post_init__(self) -> None:
        _check_ranked("interleave", self.inputs)

    def children(self) -> tuple[Pipeline, ...]:
        """Return the interleaved pipelines."""
        return self.inputs

    def __str__(self) -> str:
        return f"interleave({', '.join(map(str, self.inputs))})"


def rrf(*inputs: PipelineLike, k: int = 60) -> Rrf:
    """Fuse at least two pipelines by reciprocal rank; see `tamis.retrievers.fusion.reciprocal_rank_fusion`."""
    return Rrf(tuple(map(Pipeline.of, inputs)), k)


def interleave(*inputs: PipelineLike) -> Interleave:
    """Interleave at least two pipelines, the first one first; see `tamis.retrievers.fusion.interleave`."""
    return Interleave(tuple(map(Pipeline.of, inputs)))


def wsum(*inputs: PipelineLike, norm: str = "none", missing: str = "zero") -> Sum:
    """Add the scores of pipelines, weighted and normalised: ``wsum(0.7*a, 0.3*b, norm="minmax")``.

    `norm` and `missing` are those of `tamis.retrievers.fusion.weighted_sum`; a weight applies after normalisation.
    ``a + b`` is ``wsum(a, b)``. A single input is normalised alone.
    """
    return Sum(tuple(map(Pipeline.of, inputs)), norm, missing)


def _canonical(text: str) -> str:
    """Return the canonical spelling of an address; a folder's family, which its ``tamis.json`` states, is not looked up."""
    head = text.partition("?")[0]
    if ":" in head or not ("/" in head or "\\" in head):
        return str(Address.parse(text))
    return str(Address.parse("folder:" + text)).removeprefix("folder:")


def _check_ranked(function: str, inputs: tuple[Pipeline, ...]) -> None:
    if len(inputs) < 2:
        raise UsageError(f"{function} fuses at least two pipelines, found {len(inputs) or 'none'}")
    for pipeline in inputs:
        if _split_weight(pipeline)[1] is not pipeline:
            raise UsageError(
                f"{function} looks at ranks only, so the weight in {str(pipeline)!r} would change nothing: drop it, or use "
                "wsum(…)"
            )


def _split_weight(pipeline: Pipeline) -> tuple[float, Pipeline]:
    """Split the weight off a summand, so that a normalisation cannot swallow it."""
    if isinstance(pipeline, Scale):
        return pipeline.weight, pipeline.inner
    if isinstance(pipeline, Cut):
        weight, inner = _split_weight(pipeline.inner)
        if inner is not pipeline.inner and weight > 0:  # a cut and a weight above 0 change places freely
            return weight, Cut(inner, pipeline.k)
    return 1.0, pipeline


def _spell(pipeline: Pipeline, least: int) -> str:
    """Spell an operand, in parentheses where it binds less tightly than `least`."""
    text = str(pipeline)
    return text if _binding(pipeline) >= least else f"({text})"


def _binding(pipeline: Pipeline) -> int:
    if isinstance(pipeline, Then):
        return _CHAIN
    if isinstance(pipeline, Sum) and pipeline.plain and len(pipeline.inputs) > 1:
        return _SUM
    return _PRODUCT if isinstance(pipeline, (Cut, Scale)) else _ATOM
