"""Pipelines: stages and operators, the parser of the same grammar as a string, and the planner that runs shared work once.

from tamis.pipeline import Pipeline, Runner, rrf

bm25, ql = Pipeline.of("bm25"), Pipeline.of("ql?mu=1000")
Runner(index).run(rrf(bm25, ql) % 100 >> my_reranker, queries, k=10)
Runner(index).run("0.7*bm25 + 0.3*ql", queries, k=1000)
"""

from tamis.pipeline.expressions import (
    Cut,
    Interleave,
    Model,
    Opened,
    Pipeline,
    PipelineLike,
    Rrf,
    Scale,
    Sum,
    Then,
    interleave,
    rrf,
    wsum,
)
from tamis.pipeline.grammar import parse
from tamis.pipeline.names import check, with_option
from tamis.pipeline.plan import FUSION_DEPTH
from tamis.pipeline.runner import Runner, rescore_top, run, run_many
from tamis.pipeline.steps import Plan

__all__ = [
    "FUSION_DEPTH",
    "Cut",
    "Interleave",
    "Model",
    "Opened",
    "Pipeline",
    "PipelineLike",
    "Plan",
    "Rrf",
    "Runner",
    "Scale",
    "Sum",
    "Then",
    "check",
    "interleave",
    "parse",
    "rescore_top",
    "rrf",
    "run",
    "run_many",
    "with_option",
    "wsum",
]
