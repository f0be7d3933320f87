"""Evaluation: measures by name, per-query values, significance, tables. Importing it loads neither scipy nor ir_measures."""

from tamis.eval.changes import QueryChange, query_changes
from tamis.eval.compare import Comparison, Difference, compare
from tamis.eval.equivalence import Bound
from tamis.eval.evaluate import Conventions, Evaluation, evaluate, with_judged
from tamis.eval.judgements import Ties
from tamis.eval.measures import Measure, parse_measure, parse_measures
from tamis.eval.profiles import PROFILES, Profile, find_profile
from tamis.eval.report import (
    changes_table,
    comparison_table,
    evaluation_table,
    per_query_table,
    slices_table,
    summary_table,
)
from tamis.eval.slices import SliceDifference, Slicing, compare_slices, slice_by_labels, slice_queries
from tamis.eval.tables import Cell, Table

__all__ = [
    "PROFILES",
    "Bound",
    "Cell",
    "Comparison",
    "Conventions",
    "Difference",
    "Evaluation",
    "Measure",
    "Profile",
    "QueryChange",
    "SliceDifference",
    "Slicing",
    "Table",
    "Ties",
    "changes_table",
    "compare",
    "compare_slices",
    "comparison_table",
    "evaluate",
    "evaluation_table",
    "find_profile",
    "parse_measure",
    "parse_measures",
    "per_query_table",
    "query_changes",
    "slice_by_labels",
    "slice_queries",
    "slices_table",
    "summary_table",
    "with_judged",
]
