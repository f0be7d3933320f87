"""Evaluation profiles: how a known test collection is scored, so that nobody has to remember it.

A figure is comparable with a published one only if both follow the collection's conventions: from which grade on a document is
relevant to a binary measure (TREC Deep Learning: 2), whether a result that is the query itself counts (ArguAna and Quora: no;
beir-cellar/beir#91 reports 31.5 against 41.4 nDCG@10 for it), how deep a run is looked at, and which measures are meant.

Sources are named profile by profile: the pages of the TREC Deep Learning tracks at trec.nist.gov (``trec_eval -l 2`` for the
passage tasks), the official measures that ir_datasets records, and Thakur et al., "BEIR", NeurIPS 2021.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.errors import UnknownNameError, UsageError
from tamis.eval.measures import Measure

AUTO, NONE = "auto", "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """The conventions of one test collection.

    Attributes:
        name: what it is called by.
        measures: names of the official measures, the main one first; those customary where none is official.
        source: who says so.
        depth: how many documents a query are looked at; what lies below does not count.
        binary_threshold: lowest grade that is relevant to a binary measure.
        ignore_self: whether a result whose id is the query's own is dropped before anything is counted.
        datasets: ir_datasets ids; subsets of them (``ID/…``) belong to it as well.
        aliases: other names, also of files and folders.
        note: what to know beside it, a sentence or nothing.
    """

    name: str
    measures: tuple[str, ...]
    source: str
    depth: int = 1000
    binary_threshold: int = 1
    ignore_self: bool = False
    datasets: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    note: str = ""

    @property
    def changes_figures(self) -> bool:
        """Whether it changes more than which measures are shown and how deep a run is read."""
        return self.ignore_self or self.binary_threshold > 1

    def adapt(self, measures: Iterable[Measure]) -> tuple[Measure, ...]:
        """Return the measures with this threshold where they are binary and state none themselves.

        A measure that states its own keeps it (``AP(rel=1)``, whose name is AP: 1 is its default). Graded ones (``nDCG``,
        ``ERR``) have none.
        """
        if self.binary_threshold == 1:
            return tuple(measures)
        adapted = (
            m.with_parameters(rel=self.binary_threshold)
            if m.parameter("rel") == 1 and "rel" not in m.definition.params
            else m
            for m in measures
        )
        return tuple(dict.fromkeys(adapted))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "measures": list(self.measures),
            "binary_threshold": self.binary_threshold,
            "ignore_self": self.ignore_self,
            "depth": self.depth,
            "source": self.source,
            "note": self.note,
        }


def _deep_learning(year: int, corpus: str, measures: tuple[str, ...], depth: int) -> Profile:
    short = f"dl{year % 100}"
    return Profile(
        f"trec-dl-{year}",
        measures,
        f"TREC {year} Deep Learning track, passage ranking; grade 1 is 'related', not relevant",
        depth=depth,
        binary_threshold=2,
        datasets=(f"{corpus}/trec-dl-{year}",),
        aliases=(f"trec-dl-{year}", short, f"{short}-passage", f"{year}qrels-pass"),
    )


_BEIR_SETS = (
    "arguana", "bioasq", "climate-fever", "cqadupstack", "dbpedia-entity", "fever", "fiqa", "hotpotqa", "msmarco", "nfcorpus",
    "nq", "quora", "robust04", "scidocs", "scifact", "signal1m", "trec-covid", "trec-news", "webis-touche2020",
)  # fmt: skip
_QUERIES_IN_CORPUS = ("arguana", "quora")
_BEIR_NOTES = {
    "cqadupstack": "BEIR reports the mean of the twelve forums; this is one of them.",
    "trec-covid": "BEIR reports capped recall for this set; R@100 here is not capped.",
}


def _beir(name: str) -> Profile:
    # Not known by the set's bare name where that commonly means the collection as others score it.
    shared = ("msmarco", "robust04")
    return Profile(
        f"beir/{name}",
        ("nDCG@10", "R@100"),
        "Thakur et al., BEIR, NeurIPS 2021"
        + ("; queries are documents too, and none answers itself (beir#91)" if name in _QUERIES_IN_CORPUS else ""),
        depth=100,
        ignore_self=name in _QUERIES_IN_CORPUS,
        datasets=(f"beir/{name}",),
        aliases=(f"beir-v1.0.0-{name}", *(() if name in shared else (name,))),
        note=_BEIR_NOTES.get(name, ""),
    )


_CUSTOMARY = "no official measures; these are customary"

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "msmarco-passage",
            ("RR@10", "R@1000"),
            "MS MARCO passage ranking: mean over all queries of the qrels, at most 1000 passages a query",
            datasets=("msmarco-passage/dev", "msmarco-passage/eval", "msmarco-passage/train"),
            aliases=("msmarco-passage.dev-subset", "msmarco-passage-dev", "dev.small"),
            note="The judgements are sparse, about one passage a query: look at trec-dl-2019 and trec-dl-2020 too.",
        ),
        _deep_learning(2019, "msmarco-passage", ("nDCG@10", "RR(rel=2)", "AP(rel=2)", "R(rel=2)@1000"), 1000),
        _deep_learning(2020, "msmarco-passage", ("nDCG@10", "RR(rel=2)", "AP(rel=2)", "R(rel=2)@1000"), 1000),
        *(
            _deep_learning(
                year,
                "msmarco-passage-v2",
                ("nDCG@10", "P(rel=2)@10", "RR(rel=2)", "AP(rel=2)@100", "R(rel=2)@100"),
                100,
            )
            for year in (2021, 2022, 2023)
        ),
        *map(_beir, _BEIR_SETS),
        Profile("cacm", ("AP", "P@30", "nDCG@10"), f"CACM: {_CUSTOMARY}", aliases=("cacm",)),
        Profile(
            "cranfield",
            ("AP", "nDCG@10", "P@10"),
            f"Cranfield: {_CUSTOMARY}",
            datasets=("cranfield",),
            aliases=("cranfield",),
            note="Several gradings of it are about: name the judgements with any figure.",
        ),
    )
}
"""Every known profile by name."""

_ENDINGS = re.compile(r"(\.(gz|txt|tsv|trec|qrels|qrel|test|dev|train))+$")
_BEGINNINGS = re.compile(r"^(qrels?|topics)[._-]")


def find_profile(name: str) -> Profile:
    """Return the profile of a name: its own, another name of it, or an ir_datasets id.

    Raises:
        UnknownNameError: there is none; the message lists all.
    """
    found = PROFILES.get(name) or _of_dataset(name) or _of_alias(name)
    if found is None:
        raise UnknownNameError("evaluation profile", name, [AUTO, *PROFILES])
    return found


def detect_profile(source: str) -> Profile | None:
    """Return the profile of the collection that judgements are named after, None where their name says nothing.

    Args:
        source: a path, ``FOLDER#SPLIT`` included, or an ir_datasets id; a path that exists wins. Of a path its file name
            counts, then the folder that it is in (of ``NAME/qrels/test.tsv`` the folder NAME); what lies above has no say.
    """
    path = Path(source.partition("#")[0])
    if not path.exists():
        return _of_dataset(source)
    parts = [part for part in path.parts if part != "qrels"][-2:]
    return next(filter(None, map(_of_alias, reversed(parts))), None)


def choose_profile(choice: str | None, source: str) -> Profile | None:
    """Return the profile that a user asks for.

    Args:
        choice: a profile's name; ``auto`` for the one that `source` is named after; ``none`` or None for none.
        source: where the judgements come from.

    Raises:
        UnknownNameError: there is no such profile.
        UsageError: ``auto``, and the source's name says nothing.
    """
    if choice in (None, NONE):
        return None
    if choice != AUTO:
        return find_profile(str(choice))
    found = detect_profile(source)
    if found is None:
        raise UsageError(
            f"profile auto: the name {source!r} is of no collection that has a profile; name one of: {', '.join(PROFILES)}"
        )
    return found


def _of_dataset(name: str) -> Profile | None:
    for profile in PROFILES.values():
        if any(name == dataset or name.startswith(f"{dataset}/") for dataset in profile.datasets):
            return profile
    return None


def _of_alias(name: str) -> Profile | None:
    plain = _ENDINGS.sub("", _BEGINNINGS.sub("", name.casefold()))
    for profile in PROFILES.values():
        if plain in profile.aliases or name.casefold() in profile.aliases:
            return profile
    return None
