"""What the commands of `tamis diagnose` share: judged topics of an open index, rankings, and where results go."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.cli.session import Session
from tamis.errors import MissingResourceError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from tamis.engine import Index
    from tamis.eval.tables import Table
    from tamis.ranking import Queries, Ranking, Rows


@dataclass(frozen=True)
class Bench:
    """An open index with judged topics."""

    index: Index
    queries: Queries
    qrels: Any

    def candidates(self, session: Session, pipeline: str, depth: int) -> Ranking:
        """What a pipeline finds for the topics."""
        from tamis.cli.search import parse_pipeline

        chosen = parse_pipeline(pipeline)
        session.resolved.update(pipeline=str(chosen), depth=depth)
        return self.index.rank(self.queries, depth, pipeline=chosen)

    def everything(self) -> Ranking:
        """All live rows for every topic."""
        from tamis.ranking import Ranking

        rows = live_rows(self.index)
        return Ranking.from_lists(self.index.documents, self.queries.ids, [(rows, rows * -1.0)] * len(self.queries))


@contextlib.contextmanager
def open_bench(
    session: Session,
    folder: Path,
    topics: str,
    qrels: str,
    rel: int,
    sample: int | None,
    seed: int,
    threads: int | None,
) -> Iterator[Bench]:
    """Open an index of whole documents, with the judged topics to use, drawn by the seed.

    Raises:
        DataError: fewer than two topics have a relevant document.
        UsageError: a number is out of its range, or the rows of the index are passages.
    """
    from tamis.data.qrels import read_qrels
    from tamis.data.topics import read_topics, topics_identity
    from tamis.eval.diagnosis.sampling import judged_topics

    queries, judgements = read_topics(topics), read_qrels(qrels)
    chosen = judged_topics(queries, judgements, rel=rel, sample=sample, seed=seed)
    with open_whole(session, folder, threads) as opened:
        session.resolved.update(topics=topics_identity(topics, queries), used=list(chosen.ids), seed=seed)
        yield Bench(opened, chosen, judgements)


@contextlib.contextmanager
def open_whole(session: Session, folder: Path, threads: int | None) -> Iterator[Index]:
    """Open an index whose rows are whole documents, as those are that are judged.

    Raises:
        UsageError: its rows are passages.
    """
    from tamis.engine import Index

    with Index.open(folder, threads=threads, listener=session.listener) as opened:
        if getattr(opened.documents, "has_passages", False):
            raise UsageError(
                f"{folder} holds passages of documents, and judgements are of whole ones: diagnose an index that was made "
                "without --passages"
            )
        session.resolved.update(space=opened.documents.key, generation=opened.generation)
        yield opened


def live_rows(index: Index) -> Rows:
    """Return the live rows of an index; of a bare Lucene index all rows."""
    import numpy as np

    documents: Any = index.documents
    if not hasattr(documents, "live"):
        return np.arange(documents.row_limit)
    count = len(documents.live) if documents.live is not None else len(index)
    positions = np.arange(count) if documents.live is None else np.flatnonzero(documents.live)
    rows: Rows = documents.rows_at(positions)
    return rows


def sampled_rows(index: Index, sample: int | None, seed: int) -> Rows:
    """Return live rows of an index, at most `sample` of them, drawn by the seed.

    Raises:
        UsageError: `sample` is below 2.
    """
    import numpy as np

    from tamis.eval.diagnosis.sampling import sampled

    rows = live_rows(index)
    if sample is None:
        return rows
    return np.array(sampled(rows.tolist(), index.documents.ids(rows), sample, seed), np.int64)


def read_or_search(
    session: Session,
    sources: Sequence[Path],
    topics: str | None,
    qrels: str,
    pipelines: Sequence[str],
    depth: int,
    rel: int,
    sample: int | None,
    seed: int,
    threads: int | None,
) -> tuple[dict[str, Ranking], Queries, Any]:
    """Read runs, or search an index with every pipeline; with the judged topics, and the judgements.

    Returns:
        Rankings by name, over one space of ids and cut at `depth`; the judged topics, of runs without their texts; judgements.

    Raises:
        UsageError: neither one index with topics nor runs alone, or none of the runs' queries is judged.
    """
    from tamis.data.qrels import read_qrels
    from tamis.data.runs import read_runs
    from tamis.data.topics import read_topics
    from tamis.eval.diagnosis.sampling import judged_topics
    from tamis.files import sha256_file
    from tamis.ranking import Queries

    if any(source.is_dir() for source in sources):
        if len(sources) > 1:
            raise UsageError("give either one index, or runs: not both, and not several indexes")
        if topics is None:
            raise UsageError(f"{sources[0]} is a folder, taken for an index: it needs --topics to be searched with")
        judgements = read_qrels(qrels)
        queries = judged_topics(read_topics(topics), judgements, rel=rel, sample=sample, seed=seed)
        rankings = _searched(session, sources[0], queries, pipelines, depth, threads)
        session.resolved.update(pipelines=list(rankings), depth=depth, used=list(queries.ids), seed=seed)
        return rankings, queries, judgements
    if topics is not None:
        raise UsageError("--topics goes with an index: runs say which topics they answer")
    judgements = read_qrels(qrels)
    given = read_runs(sources, listener=session.listener)
    answered = {query for ranking in given.values() for query in ranking.query_ids}
    if not answered & set(judgements):
        raise UsageError("none of the runs' queries is in the qrels: do they belong to the same topics?")
    queries = judged_topics(Queries.of(dict.fromkeys(judgements, "")), judgements, rel=rel, sample=sample, seed=seed)
    session.resolved.update(
        runs=[{"name": path.name, "sha256": sha256_file(path)} for path in sources],
        depth=depth,
        used=list(queries.ids),
        seed=seed,
    )
    return {name: ranking.cut(depth) for name, ranking in given.items()}, queries, judgements


def _searched(
    session: Session, folder: Path, queries: Queries, pipelines: Sequence[str], depth: int, threads: int | None
) -> dict[str, Ranking]:
    """Search with every pipeline; the rankings are over a space of ids that outlives the index."""
    from tamis.cli.search import parse_pipeline
    from tamis.engine import Index
    from tamis.ranking import GROUPED, IdSpace

    chosen = [parse_pipeline(text) for text in pipelines]
    with Index.open(folder, threads=threads, listener=session.listener) as opened:
        session.resolved.update(space=opened.documents.key, generation=opened.generation)
        found = {str(one): opened.rank(queries, depth, pipeline=one) for one in chosen}
        for name, ranking in found.items():
            if getattr(opened.documents, "has_passages", False) and not ranking.space.key.endswith(GROUPED):
                raise UsageError(f"{name} finds passages, and judgements are of documents: end it with  >> maxp")
        space = IdSpace(doc_id for ranking in found.values() for doc_id in ranking.space.ids(ranking.rows))
        return {name: ranking.rebind(space) for name, ranking in found.items()}


def check_outcome(form: str, plot: Path | None, *, force: bool) -> None:
    """Check where results go, before any work is done for them.

    Raises:
        UnknownNameError: there is no such output form.
        UsageError: the drawing is not to be an SVG file.
        OutputExistsError: it is there, and `force` is false.
        MissingResourceError: its folder is not there.
        PrerequisiteError: matplotlib is missing.
    """
    from tamis.cli.tables import check_format

    check_format(form)
    if plot is None:
        return
    from tamis.eval.charts import bar_chart

    if plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot {plot}: drawings are SVG, name a file that ends in .svg")
    if plot.exists() and not force:
        raise OutputExistsError(f"{plot} exists: choose another name, or pass --force to overwrite it")
    if not plot.parent.is_dir():
        raise MissingResourceError(f"cannot write {plot}: there is no folder {plot.parent}; make it first")
    bar_chart(["-"], {"-": [0.0]}, y_label="-")  # says at once that matplotlib is missing


def tell(
    session: Session, form: str, found: Any, tables: list[Table], plot: Path | None, draw: Callable[[], str]
) -> None:
    """Write the outcome in the form asked for, and its drawing."""
    from tamis.cli.drawing import write_tables
    from tamis.files import atomic_write

    session.results = [one.to_dict() for one in found] if isinstance(found, list) else found.to_dict()
    session.metrics["seconds"] = round(session.seconds, 3)
    if plot is not None:
        with atomic_write(plot, text=True) as handle:
            handle.write(draw())
        session.artifacts["plot"] = str(plot)
    if form == "json":
        session.write(json.dumps(session.results, ensure_ascii=False, indent=1) + "\n")
    else:
        write_tables(session, tables, form)
    if plot is not None:
        session.note(f"{plot}: written")
