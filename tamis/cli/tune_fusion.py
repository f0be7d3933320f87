"""`tamis tune-fusion`: the weights of a fusion, chosen on judged topics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import FilterOption, QrelsArgument, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import UsageError

if TYPE_CHECKING:
    from tamis.eval.tables import Table
    from tamis.eval.tuning import Method, Setting, Tuning
    from tamis.pipeline import Pipeline
    from tamis.ranking import Ranking


def tune_fusion(
    session: Session,
    qrels: QrelsArgument,
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="Runs to fuse; or give --index.", show_default=False)
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", metavar="INDEX", help="Search this index in place of reading runs.")
    ] = None,
    topics: Annotated[
        str | None, typer.Option("--topics", metavar="TOPICS", help="With --index: the development topics.")
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", metavar="EXPR", help='With --index: the fusion to tune, e.g. "wsum(bm25, ql)".'),
    ] = None,
    filter: FilterOption = None,  # noqa: A002 - the option's name
    measure: Annotated[
        str, typer.Option("--measure", "-m", metavar="MEASURE", help="What to maximise, by its ir_measures name.")
    ] = "nDCG@10",
    method: Annotated[
        str | None, typer.Option("--method", metavar="wsum|rrf", help="With runs: how they are fused; wsum.")
    ] = None,
    norms: Annotated[
        list[str] | None,
        typer.Option("--norm", metavar="NORM", help="wsum: try this normalisation, repeatable; minmax, zscore, none."),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option("--missing", metavar="zero|min", help="wsum: try this value of missing, repeatable; both."),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", metavar="N", help="Folds of the cross-validation.")] = 5,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Settings to show.")] = 10,
    threads: ThreadsOption = None,
) -> None:
    """Choose the weights of a fusion on judged development topics.

    The topics are spent by it: evaluate the setting on others. The cross-validated figure is the one to expect there.

    Example: tamis tune-fusion dev-qrels.txt bm25.run dense.run

    Example: tamis tune-fusion dev-qrels.txt --index my-index --topics dev.tsv --pipeline "wsum(bm25, ql)"
    """
    from tamis.data.qrels import read_qrels
    from tamis.eval.measures import parse_measure
    from tamis.eval.tuning import TUNED_NORMS, tune_fusion
    from tamis.retrievers.fusion import MISSING

    parsed = parse_measure(measure)
    if top < 1:
        raise UsageError(f"--top {top}: at least 1 is needed")
    if index is None:
        if not runs or topics is not None or pipeline is not None or filter is not None:
            raise UsageError("give either two runs or more, or --index with --topics and --pipeline")
        judgements = read_qrels(qrels)
        inputs, chosen = None, method or "wsum"
        rankings, source = _read(session, runs)
    else:
        if runs or topics is None or pipeline is None:
            raise UsageError("--index goes with --topics and --pipeline, and without runs")
        if method is not None:
            raise UsageError("--method is for runs: the pipeline states how it fuses")
        inputs, chosen, fixed = _fusion(pipeline)
        norms, missing = norms or fixed.get("norm"), missing or fixed.get("missing")
        judgements = read_qrels(qrels)
        rankings, source = _run(session, index, topics, inputs, filter, threads)
    if chosen == "rrf" and (norms or missing):
        raise UsageError("--norm and --missing are for weighted sums: rrf looks at ranks only")
    kind: Method = chosen  # type: ignore[assignment] # the library refuses what is none
    found = tune_fusion(
        judgements,
        rankings,
        parsed,
        method=kind,
        norms=norms or TUNED_NORMS,
        missing=missing or MISSING,
        folds=folds,
        listener=session.listener,
    )
    recommended = _spell(found.best.setting, inputs, runs or [])
    session.results = {"recommended": recommended, **found.to_dict()}
    session.resolved.update(measure=parsed.name, method=chosen, qrels=qrels, **source)
    session.metrics.update(tried=len(found.trials), seconds=round(session.seconds, 4))
    _write(
        session, found, recommended, [_spell(t.setting, inputs, None) for t in found.trials[:top]], source["tuned_on"]
    )


def _fusion(text: str) -> tuple[list[Pipeline], str, dict[str, list[str]]]:
    """The inputs and the method of a fusion, and what its spelling settles.

    Raises:
        UsageError: the pipeline does not end in a fusion.
    """
    from tamis.cli.search import parse_pipeline
    from tamis.pipeline import Rrf, Sum

    pipeline = parse_pipeline(text)
    if isinstance(pipeline, Rrf):
        return list(pipeline.inputs), "rrf", {}
    if isinstance(pipeline, Sum):
        settled = {"norm": [pipeline.norm]} if pipeline.norm != "none" else {}
        settled |= {"missing": [pipeline.missing]} if pipeline.missing != "zero" else {}
        return [part for _, part in pipeline.weighted], "wsum", settled
    raise UsageError(f"--pipeline {text!r} is no fusion that can be tuned: write wsum(a, b), a + b or rrf(a, b)")


def _read(session: Session, runs: list[Path]) -> tuple[dict[str, Ranking], dict[str, Any]]:
    from tamis.data.runs import read_runs
    from tamis.files import sha256_file

    rankings = read_runs(runs, listener=session.listener)
    sources = [{"name": path.name, "sha256": sha256_file(path)} for path in runs]
    return rankings, {"runs": sources, "tuned_on": ", ".join(path.name for path in runs)}


def _run(
    session: Session, folder: Path, source: str, inputs: list[Pipeline], chosen: str | None, threads: int | None
) -> tuple[dict[str, Ranking], dict[str, Any]]:
    """Search with every input once, as deep as a fusion at the head of a pipeline does."""
    from tamis.cli.search import parse_filter_option
    from tamis.data.topics import read_topics, topics_identity
    from tamis.engine import Index
    from tamis.pipeline import FUSION_DEPTH

    names = [str(part) for part in inputs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"the fusion holds {twice!r} twice: its weights could not be told apart")
    allowed = parse_filter_option(chosen)
    queries = read_topics(source)
    with Index.open(folder, threads=threads, listener=session.listener) as opened:
        rankings = {
            name: opened.rank(queries, FUSION_DEPTH, pipeline=part, filter=allowed)
            for name, part in zip(names, inputs, strict=True)
        }
        where = {"space": opened.documents.key, "generation": opened.generation, "index_path": str(opened.path)}
    identity = topics_identity(source, queries)
    resolved = {**where, "filter": None if allowed is None else str(allowed), "topics": identity}
    return rankings, {**resolved, "tuned_on": identity["name"]}


def _spell(setting: Setting, inputs: list[Pipeline] | None, runs: list[Path] | None) -> str:
    """A setting as a pipeline, or as options of `tamis fuse`: the whole command, if runs are given."""
    if inputs is not None:
        return str(setting.pipeline(inputs))
    if setting.method == "rrf":
        options = f"--method rrf --k {setting.k}"
    else:
        weights = ",".join(f"{weight:g}" for weight in setting.weights)
        options = f"--method wsum --weights {weights} --norm {setting.norm} --missing {setting.missing}"
    if runs is None:
        return options
    import shlex

    return f"tamis fuse {shlex.join(map(str, runs))} {options}"


def _write(session: Session, found: Tuning, recommended: str, settings: list[str], source: str) -> None:
    from tamis.cli.drawing import write_tables

    write_tables(session, [_table(found, settings)], "table")
    session.write(f"\nrecommended: {recommended}\n")
    count = len(found.query_ids)
    session.write(
        f"tuned on {count} topic{'s' if count > 1 else ''} of {source}: "
        f"they are spent, and {found.best.mean:.4f} is no test score\n"
    )
    if found.cross_validated is not None:
        session.write(
            f"expect about {found.cross_validated:.4f} on other topics ({len(found.folds)}-fold cross-validation)\n"
        )
    better = max(found.alone, key=lambda name: found.alone[name])
    if found.cross_validated is not None and found.cross_validated <= found.alone[better]:
        session.warn("fusion-does-not-help", f"cross-validated, the fusion is no better than {better} alone")


def _table(found: Tuning, settings: list[str]) -> Table:
    from tamis.eval.tables import Cell, Table

    rows = [(Cell(text), Cell(trial.mean)) for text, trial in zip(settings, found.trials, strict=False)]
    rows += [(Cell(f"{name} alone"), Cell(mean)) for name, mean in found.alone.items()]
    untuned = "rrf, k=60" if found.best.setting.method == "rrf" else "equal weights, minmax"
    rows.append((Cell(f"not tuned: {untuned}"), Cell(found.equal)))
    return Table(("setting", found.measure.name), tuple(rows), (f"{len(found.trials)} settings were tried.",))
