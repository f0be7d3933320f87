"""`tamis fuse`: several runs become one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import ForceOption, RunsArgument
from tamis.cli.session import Session
from tamis.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from tamis.ranking import Ranking

METHODS = {"rrf": ("k",), "wsum": ("weights", "norm", "missing"), "interleave": ()}
"""Methods, and the options that each takes."""


def fuse(
    session: Session,
    runs: RunsArgument,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="rrf|wsum|interleave",
            help="rrf: by ranks; wsum: weighted sum of scores; interleave: in turns.",
        ),
    ] = "rrf",
    k: Annotated[
        float | None, typer.Option("--k", metavar="K", help="rrf: a document scores the sum of 1/(K + rank); 60.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="W,W…", help="wsum: a weight for each run; 1 each.")
    ] = None,
    norm: Annotated[
        str | None,
        typer.Option("--norm", metavar="none|minmax|zscore|range", help="wsum: how scores are normalised; minmax."),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option("--missing", metavar="zero|min", help="wsum: what a run gives a document that it lacks; zero."),
    ] = None,
    depth: Annotated[int | None, typer.Option("--depth", metavar="N", help="Keep the first N results a query.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN", help="Run file to write, .gz to compress; else standard output."),
    ] = None,
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="Last column of the run.")] = "tamis",
    form: Annotated[str, typer.Option("--format", metavar="trec|msmarco", help="Form of the run.")] = "trec",
    force: ForceOption = False,
) -> None:
    """Fuse several runs into one.

    Example: tamis fuse bm25.run ql.run -o fused.run

    Example: tamis fuse bm25.run dense.run --method wsum --weights 0.3,0.7 --norm minmax -o fused.run
    """
    from tamis.cli.run_output import check_output, provenance, put_run, warn_partial
    from tamis.data.runs import read_runs
    from tamis.files import sha256_file
    from tamis.ranking import check_k

    options = {"k": k, "weights": weights, "norm": norm, "missing": missing}
    settings = _settings(method, {name: value for name, value in options.items() if value is not None}, len(runs))
    if depth is not None:
        check_k(depth)
    check_output(output, form, force=force)
    rankings = read_runs(runs, listener=session.listener)
    fused = _fuse(list(rankings.values()), method, settings)
    if depth is not None:
        fused = fused.cut(depth)
    sources = [{"name": path.name, "sha256": sha256_file(path)} for path in runs]
    session.resolved.update(method=method, **settings, runs=sources)
    session.metrics.update(queries=len(fused), lines=len(fused.rows), seconds=round(session.seconds, 4))
    manifest = provenance(**session.resolved, metrics=session.metrics)
    put_run(session, fused, output, tag=tag, form=form, force=force, manifest=manifest)
    warn_partial(session, fused)
    if output is not None:
        session.note(f"{output}: {len(fused):,} queries, {len(fused.rows):,} results of {len(runs)} runs by {method}")
        session.note(f"next: tamis evaluate QRELS {' '.join(map(str, runs))} {output}")


def _settings(method: str, given: dict[str, Any], runs: int) -> dict[str, Any]:
    """Check that the options belong to the method, and fill in what is not given."""
    if method not in METHODS:
        raise UnknownNameError("fusion method", method, METHODS)
    for name in given:
        if name not in METHODS[method]:
            owner = next(other for other, options in METHODS.items() if name in options)
            raise UsageError(f"--{name} belongs to --method {owner}, not to {method}")
    if method == "rrf":
        return {"k": given.get("k", 60.0)}
    if method == "interleave":
        return {}
    return {
        "weights": _weights(given["weights"], runs) if "weights" in given else [1.0] * runs,
        "norm": given.get("norm", "minmax"),
        "missing": given.get("missing", "zero"),
    }


def _weights(text: str, runs: int) -> list[float]:
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--weights {text!r}: numbers separated by commas are expected, as in 0.7,0.3") from None
    if len(weights) != runs:
        raise UsageError(f"--weights {text!r}: {len(weights)} weights for {runs} runs: give one for each")
    return weights


def _fuse(rankings: list[Ranking], method: str, settings: dict[str, Any]) -> Ranking:
    from tamis.retrievers import fusion

    if method == "rrf":
        return fusion.reciprocal_rank_fusion(rankings, settings["k"])
    if method == "wsum":
        return fusion.weighted_sum(rankings, settings["weights"], settings["norm"], settings["missing"])
    return fusion.interleave(rankings)
