"""The laboratory: experiments of many systems over many collections, run once, measured, remembered and reported."""

from tamis.eval.laboratory.costs import Cost
from tamis.eval.laboratory.experiment import Collection, CostRules, Experiment, read_experiment
from tamis.eval.laboratory.results import Results, read_results
from tamis.eval.laboratory.running import ExperimentPlan, Laboratory
from tamis.eval.laboratory.store import Store, default_store

__all__ = [
    "Collection",
    "Cost",
    "CostRules",
    "Experiment",
    "ExperimentPlan",
    "Laboratory",
    "Results",
    "Store",
    "default_store",
    "read_experiment",
    "read_results",
]
