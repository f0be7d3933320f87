"""The certificate: how deep an index may be cut so that no pipeline is shown to lose more than a stated bound.

For every level of a ladder, pipeline and measure, the paired equivalence test (TOST) asks whether the mean lies within the
bound of what it was. One half of the topics chooses: the deepest level up to which all are equivalent. The other half, which had
no say in that, is tested on the levels up to that one, and what it confirms is certified. Over all levels, pipelines and
measures together the chance of certifying a level that is not equivalent is at most alpha (`tamis.eval.equivalence`).

Sources: Chang, Mishra, Macdonald and MacAvaney, "Neural Passage Quality Estimation for Static Pruning", SIGIR 2024, whose bound
of 5 % of the unpruned mean is the default; Schuirmann, 1987.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tamis._version import __version__
from tamis.data.qrels import Qrels
from tamis.engine import Index
from tamis.errors import DataError, MissingResourceError, SpaceMismatchError, UnknownNameError, UsageError
from tamis.eval.equivalence import Bound, Equivalence, LadderCorrection, equivalence, ladder_p_values
from tamis.eval.halves import halves
from tamis.eval.judgements import QrelsLike
from tamis.eval.measures import Measure, parse_measures
from tamis.events import Listener, ignore
from tamis.files import sha256_json
from tamis.indexer.layout import Manifest
from tamis.pipeline import parse
from tamis.pruning.ladder import DEPTH, Field, Rung, climb
from tamis.pruning.scoring import quality_part
from tamis.pruning.selection import Candidates
from tamis.ranking import Queries

VERSION = 1
DEFAULT_BOUND = Bound(0.05)
DEFAULT_LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
DEFAULT_WATTS = 65.0
"""Assumed draw of the machine while it works, for the estimate of energy."""


@dataclass(frozen=True)
class Rules:
    """What is to be shown, settled before anything is measured.

    Attributes:
        measures: that must hold.
        bound: largest difference that does not matter.
        alpha: level of the whole certificate.
        correction: for the number of tests, see `tamis.eval.equivalence.ladder_p_values`.
        seed: of the split of the topics.
        watts: assumed draw of the machine.

    Raises:
        UnknownNameError: no such correction.
        UsageError: a number is out of its range, or a measure is a count.
    """

    measures: tuple[Measure, ...]
    bound: Bound = DEFAULT_BOUND
    alpha: float = 0.05
    correction: LadderCorrection = "holm"
    seed: int = 0
    watts: float = DEFAULT_WATTS

    def __post_init__(self) -> None:
        if self.correction not in get_args(LadderCorrection):
            raise UnknownNameError("correction", self.correction, get_args(LadderCorrection))
        if not 0 < self.alpha < 0.5:
            raise UsageError(f"alpha={self.alpha:g}: the risk of a false certificate must lie between 0 and 0.5")
        if not 0 < self.watts < math.inf:
            raise UsageError(f"watts={self.watts:g}: the draw of a machine is above 0")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed}: write a whole number from 0 on")
        if any(measure.is_count for measure in self.measures):
            raise UsageError(
                "counts such as NumRet are no effectiveness that pruning could keep: take nDCG@10, for example"
            )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        measures = [measure.name for measure in self.measures]
        return {**asdict(self), "measures": measures, "bound": str(self.bound)}


@dataclass(frozen=True)
class Claim:
    """One pipeline on one measure at one level: what each half of the topics says.

    Attributes:
        level: share that was cut.
        pipeline: its canonical name.
        measure: its canonical name.
        choice: of the half that chooses.
        confirmation: of the half that confirms; None at levels that were not chosen, which it was not asked about.
    """

    level: float
    pipeline: str
    measure: str
    choice: Equivalence
    confirmation: Equivalence | None


@dataclass(frozen=True)
class Certificate:
    """What was shown.

    Attributes:
        inputs: index, quality model, topics and judgements, by identity and hash.
        rules: what was to be shown.
        halves: ids of the topics that chose and that confirmed.
        rungs: the ladder, level 0 first.
        claims: level by level, in each pipeline by pipeline, measure by measure.
        choice_p: corrected p of each level on the half that chooses.
        confirmation_p: corrected p of each level up to the chosen one on the half that confirms.
        chosen: the deepest level that the first half allows; 0 if none.
        certified: the deepest level that the second half confirms; 0 if none.
    """

    inputs: Mapping[str, Any]
    rules: Rules
    halves: tuple[tuple[str, ...], tuple[str, ...]]
    rungs: tuple[Rung, ...]
    claims: tuple[Claim, ...]
    choice_p: tuple[float, ...]
    confirmation_p: tuple[float, ...]
    chosen: float
    certified: float

    @property
    def pipelines(self) -> list[str]:
        """Names of the pipelines."""
        return list(self.rungs[0].trials)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "version": VERSION,
            "tamis": __version__,
            "inputs": dict(self.inputs),
            "rules": self.rules.to_json(),
            "split": {"choice": list(self.halves[0]), "confirmation": list(self.halves[1])},
            "chosen": self.chosen,
            "certified": self.certified,
            "levels": [self._level(number, rung) for number, rung in enumerate(self.rungs)],
        }

    def _level(self, number: int, rung: Rung) -> dict[str, Any]:
        costs = {
            pipeline: {
                "seconds_per_query": trial.seconds / len(trial.values[self.rules.measures[0].name]),
                "watt_hours_per_1000_queries": self._energy(trial.seconds) * 1000 / self._queries,
                "judged@10": trial.judged,
                "queries_without_results": trial.empty,
            }
            for pipeline, trial in rung.trials.items()
        }
        cut = {"seconds": rung.cut_seconds, "watt_hours": self._energy(rung.cut_seconds)}
        found: dict[str, Any] = {
            "level": rung.level,
            "dropped": rung.rows,
            "kept": rung.kept,
            "bytes": dict(rung.bytes),
        }
        found |= {"cut": cut, "pipelines": costs}
        if number:
            found["choice_p"] = self.choice_p[number - 1]
            found["confirmation_p"] = self.confirmation_p[number - 1] if number <= len(self.confirmation_p) else None
            found["claims"] = [asdict(claim) for claim in self.claims if claim.level == rung.level]
        return found

    @property
    def _queries(self) -> int:
        return len(self.halves[0]) + len(self.halves[1])

    def _energy(self, seconds: float) -> float:
        return seconds * self.rules.watts / 3600


def make_field(topics: Queries, qrels: QrelsLike, pipelines: Sequence[str], measures: Sequence[str | Measure]) -> Field:
    """Return what is tried: the topics that have judgements, under pipelines that parse.

    Raises:
        DataError: no topic has judgements.
        UsageError: there are fewer than four of them, no pipeline, or one twice.
    """
    names = [str(parse(text)) for text in pipelines]
    if not names:
        raise UsageError("there is no pipeline to certify: name at least one with --pipeline")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"pipeline {twice!r} is given twice")
    texts = dict(zip(topics.ids, topics.texts, strict=True))
    judged = sorted(query for query in texts if qrels.get(query))
    if not judged:
        raise DataError(
            f"none of the {len(topics)} topics has judgements (topics such as {topics.ids[0]!r}, judgements such as "
            f"{next(iter(qrels), 'none at all')!r}): do they belong together?"
        )
    if len(judged) < 4:
        raise UsageError(
            f"{len(judged)} of the topics have judgements: a certificate chooses on one half and confirms on the other, and a "
            "paired test needs two queries in each"
        )
    kept = Qrels({query: qrels[query] for query in judged})
    return Field(Queries.of({query: texts[query] for query in judged}), kept, tuple(names), parse_measures(measures))


def check_levels(levels: Sequence[float]) -> None:
    """Check the levels of a ladder.

    Raises:
        UsageError: they are not ascending shares.
    """
    if not levels or list(levels) != sorted(set(levels)) or not (levels[0] > 0 and levels[-1] < 1):
        raise UsageError(f"levels {list(levels)}: write ascending shares above 0 and below 1, such as 0.05,0.1,0.15")


def certify(
    index: Index,
    quality: str,
    field: Field,
    rules: Rules,
    work: Path,
    *,
    levels: Sequence[float] = DEFAULT_LEVELS,
    keep_last: bool = False,
    keep: Sequence[str] = (),
    threads: int = 2,
    listener: Listener = ignore,
) -> Certificate:
    """Cut an index level by level, and show how deep it may be cut.

    An interrupted call, made again with the same arguments, goes on where it stopped; so does one with other rules.

    Args:
        index: an open index.
        quality: name or model of a quality part that it holds.
        field: topics, judgements and pipelines, see `make_field`.
        rules: what is to be shown.
        work: folder for unfinished work; removed in the end.
        levels: ascending shares of the rows.
        keep_last: as in `Candidates`.
        keep: as in `Candidates`.
        threads: of searches and cuts.
        listener: hears of the progress.

    Raises:
        UsageError: the levels are not ascending shares, or protection leaves too little to cut.
        MissingResourceError: the index holds no such quality part.
        DataError: a pipeline finds nothing at all.
    """
    check_levels(levels)
    part = quality_part(index, quality)
    documents: Any = index.documents
    candidates = Candidates(documents, part, keep_last=keep_last, keep=keep)
    if candidates.droppable < levels[0] * candidates.total:
        raise UsageError(
            f"only {candidates.droppable:,} of {candidates.total:,} rows are not protected, less than the first level of "
            f"{levels[0]:.0%}: there is nothing to certify"
        )
    levels = [level for level in levels if level * candidates.total <= candidates.droppable]
    inputs = _inputs(index.manifest, part.entry.model, field, keep_last=keep_last, keep=keep)
    # the ladder does not depend on what is to be shown of it
    room = work / sha256_json([inputs, [measure.name for measure in field.measures], list(levels), __version__])[:16]
    rungs = climb(index, field, levels, candidates.lowest, room, threads=threads, listener=listener)
    return judge(inputs, rules, field.queries.ids, rungs)


def judge(inputs: Mapping[str, Any], rules: Rules, query_ids: Sequence[str], rungs: Sequence[Rung]) -> Certificate:
    """Decide what a ladder shows.

    Args:
        inputs: of the certificate.
        rules: what is to be shown.
        query_ids: topics, in the order of the rungs' values.
        rungs: level 0 first.
    """
    choosing, confirming = halves(len(query_ids), rules.seed)
    whole, cuts = rungs[0], rungs[1:]
    pairs = [(pipeline, measure.name) for pipeline in whole.trials for measure in rules.measures]

    def test(half: NDArray[np.int64], rung: Rung, pair: tuple[str, str]) -> Equivalence:
        before, after = whole.values(*pair)[half], rung.values(*pair)[half]
        try:
            return equivalence(before, after, rules.bound, alpha=rules.alpha)
        except DataError as error:
            raise DataError(f"{pair[0]}, {pair[1]}, {len(half)} topics: {error}") from None

    chose = [[test(choosing, rung, pair) for pair in pairs] for rung in cuts]
    choice_p = ladder_p_values([[one.p for one in row] for row in chose], rules.correction)
    depth = int((choice_p < rules.alpha).sum())  # never falling: the first ones
    confirmed = [[test(confirming, rung, pair) for pair in pairs] for rung in cuts[:depth]]
    confirmation_p = (
        ladder_p_values([[one.p for one in row] for row in confirmed], rules.correction) if depth else np.zeros(0)
    )
    shown = int((confirmation_p < rules.alpha).sum())
    claims = [
        Claim(rung.level, *pair, chose[n][c], confirmed[n][c] if n < depth else None)
        for n, rung in enumerate(cuts)
        for c, pair in enumerate(pairs)
    ]
    names = tuple(query_ids)
    return Certificate(
        inputs=inputs,
        rules=rules,
        halves=(tuple(names[i] for i in choosing), tuple(names[i] for i in confirming)),
        rungs=tuple(rungs),
        claims=tuple(claims),
        choice_p=tuple(choice_p.tolist()),
        confirmation_p=tuple(confirmation_p.tolist()),
        chosen=rungs[depth].level,
        certified=rungs[shown].level,
    )


def _inputs(
    manifest: Manifest, model: Mapping[str, Any], field: Field, *, keep_last: bool, keep: Sequence[str]
) -> dict[str, Any]:
    topics = dict(zip(field.queries.ids, field.queries.texts, strict=True))
    return {
        "index": manifest.index,
        "generation": manifest.generation,
        "documents_of_generation": manifest.changed,
        "rows": manifest.rows - manifest.deleted,
        "quality": {"address": model["address"], "fingerprint": model["fingerprint"]},
        "topics": {"count": len(topics), "sha256": sha256_json(topics)},
        "qrels": {"sha256": sha256_json({query: dict(field.qrels[query]) for query in topics})},
        "pipelines": list(field.pipelines),
        "depth": DEPTH,
        "keep_last_passage": keep_last,
        "keep": {"count": len(keep), "sha256": sha256_json(sorted(keep))},
    }


def read_certificate(path: Path) -> dict[str, Any]:
    """Return a certificate's JSON values.

    Raises:
        MissingResourceError: there is no such file.
        DataError: it is no certificate.
    """
    try:
        value = json.loads(path.read_bytes())
        needed = {"version", "inputs", "certified", "rules"}
        if not needed <= value.keys() or value["version"] != VERSION:
            raise ValueError(f"version {value.get('version')!r}; this Tamis reads version {VERSION}")
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is no pruning certificate: {error}") from error
    found: dict[str, Any] = value
    return found


def certified_level(certificate: Mapping[str, Any], manifest: Manifest, path: Path) -> float:
    """Return the level that a certificate allows for an index.

    Args:
        certificate: see `read_certificate`.
        manifest: of the index to prune.
        path: of the certificate, for messages.

    Raises:
        SpaceMismatchError: it was made for another index, or for other documents in it.
        DataError: it certifies no level.
    """
    inputs = certificate["inputs"]
    if inputs["index"] != manifest.index:
        raise SpaceMismatchError(
            f"{path} was made for the index {inputs['index']}, and this is {manifest.index}: make a certificate for this one"
        )
    if inputs["documents_of_generation"] != manifest.changed:
        raise SpaceMismatchError(
            f"{path} was made for the documents of generation {inputs['documents_of_generation']}, and the index has those of "
            f"generation {manifest.changed}: make a new certificate"
        )
    level = float(certificate["certified"])
    if not level:
        raise DataError(
            f"{path} certifies no level: no cut was shown to be equivalent; choose a depth yourself with --drop"
        )
    return level
