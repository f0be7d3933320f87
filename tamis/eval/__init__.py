"""Evaluation: measures by name, per-query values, significance, tables. Importing it loads neither scipy nor ir_measures."""

from tamis.eval.compare import Comparison, Difference, compare
from tamis.eval.evaluate import Evaluation, evaluate
from tamis.eval.judgements import Ties
from tamis.eval.measures import Measure, parse_measure, parse_measures
from tamis.eval.report import comparison_table, evaluation_table, per_query_table, summary_table
from tamis.eval.tables import Cell, Table

__all__ = [
    "Cell",
    "Comparison",
    "Difference",
    "Evaluation",
    "Measure",
    "Table",
    "Ties",
    "compare",
    "comparison_table",
    "evaluate",
    "evaluation_table",
    "parse_measure",
    "parse_measures",
    "per_query_table",
    "summary_table",
]
