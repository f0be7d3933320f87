"""`tamis tune`: the best pipeline that keeps to a budget of time, chosen on one half of the topics, confirmed on the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamis.cli.options import FilterOption, ForceOption, FormatOption, IndexArgument, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import UsageError

if TYPE_CHECKING:
    from tamis.eval.laboratory.cascades import CascadeTuning
    from tamis.eval.tables import Table


def tune(
    session: Session,
    index: IndexArgument,
    topics: Annotated[
        str, typer.Option("--topics", metavar="TOPICS", help="Topics, as tamis search reads them.", show_default=False)
    ],
    qrels: Annotated[str, typer.Option("--qrels", metavar="QRELS", help="Their judgements.", show_default=False)],
    budget: Annotated[
        str,
        typer.Option(
            "--budget", metavar="TIME", help="95th percentile of a query's time: 50ms, 1s.", show_default=False
        ),
    ],
    rerank: Annotated[
        list[str] | None,
        typer.Option("--rerank", metavar="MODEL", help="A model that re-scores, repeatable, from cheap to dear."),
    ] = None,
    first: Annotated[
        list[str] | None,
        typer.Option(
            "--first",
            metavar="EXPR",
            help="A first stage, repeatable; bm25, every part and their fusions if none is given.",
        ),
    ] = None,
    depths: Annotated[
        str, typer.Option("--depths", metavar="N,N…", help="How deep the models re-score.")
    ] = "10,20,50,100,200",
    measure: Annotated[
        str, typer.Option("--measure", "-m", metavar="MEASURE", help="What to maximise, by its ir_measures name.")
    ] = "nDCG@10",
    k: Annotated[int, typer.Option("-k", metavar="N", help="Results a query.")] = 1000,
    sample: Annotated[int, typer.Option("--sample", metavar="N", help="Topics on which time is measured.")] = 20,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", help="How often each of them is asked.")] = 3,
    seed: Annotated[int, typer.Option("--seed", help="Of the split of the topics, and of the sample.")] = 0,
    filter: FilterOption = None,  # noqa: A002 - the option's name
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw quality by time.", show_default=False)
    ] = None,
    force: ForceOption = False,
    form: FormatOption = "table",
    threads: ThreadsOption = None,
) -> None:
    """Find the best pipeline within a budget of time.

    First stages, rerankers and depths are tried on one half of the topics; the best within the budget is confirmed on the
    other half. Those topics are spent: test on others.

    Example: tamis tune my-index --topics dev.tsv --qrels dev-qrels.txt --budget 50ms --rerank cross:MODEL
    """
    from tamis.cli.search import parse_deadline
    from tamis.cli.tables import check_format, write_outcome
    from tamis.data.qrels import read_qrels
    from tamis.data.topics import read_topics, topics_identity
    from tamis.engine import Index
    from tamis.errors import OutputExistsError
    from tamis.eval.laboratory import CostRules, default_store
    from tamis.eval.laboratory.cascades import Rules, first_stages, tune_cascade
    from tamis.eval.measures import parse_measure

    check_format(form)
    seconds = parse_deadline(budget, "--budget")
    assert seconds is not None  # noqa: S101 - a text was given
    rules = Rules(
        measure=parse_measure(measure),
        budget_ms=1000 * seconds,
        depths=_depths(depths),
        k=k,
        cost=CostRules(sample, rounds, seed),
        seed=seed,
    )
    if plot is not None and plot.exists() and not force:
        raise OutputExistsError(f"{plot} exists: choose another name, or pass --force to overwrite it")
    queries, judgements = read_topics(topics), read_qrels(qrels)
    session.resumable = True
    with Index.open(index, threads=threads, listener=session.listener) as opened:
        found = tune_cascade(
            opened,
            queries,
            judgements,
            first or first_stages(opened),
            rerank or [],
            rules,
            default_store(index.absolute().parent),
            filter=filter,
            listener=session.listener,
        )
    session.resolved.update(
        topics=topics_identity(topics, queries), budget_ms=rules.budget_ms, measure=rules.measure.name, filter=filter
    )
    session.results = found.to_json()
    if plot is not None:
        _draw(plot, found)
        session.artifacts["plot"] = str(plot)
    write_outcome(session, form, found.to_json(), {"*": [_table(found)]})
    if form == "table":
        _conclude(session, found)


def _depths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--depths {text}: write whole numbers with commas between, such as 10,50,100") from None


def _table(found: CascadeTuning) -> Table:
    from tamis.eval.tables import Cell, Table

    best = set(found.frontier)
    rows = []
    for one in sorted(found.tried, key=lambda one: one.cost.p95_ms):
        star = "*" if one.pipeline in best else ""
        inside = "yes" if one.within(found.rules.budget_ms) else "no"
        cost = one.cost
        rows.append(
            (
                Cell(one.pipeline, text=one.pipeline + star),
                Cell(one.mean),
                Cell(cost.p50_ms, text=f"{cost.p50_ms:.2f}"),
                Cell(cost.p95_ms, text=f"{cost.p95_ms:.2f}"),
                Cell(inside),
            )
        )
    notes = [
        (
            f"{len(found.query_ids)} topics, which are spent; times of {found.tried[0].cost.topics} of them, one by one, "
            f"{found.tried[0].cost.rounds} rounds."
        ),
        f"*: no pipeline is both faster (p95) and better ({found.rules.measure.name}).",
    ]
    if any(one.mean is None for one in found.tried):
        notes.append("-: beyond four budgets, and not run over all topics.")
    if found.skipped:
        notes.append(f"{len(found.skipped)} deeper cascades were not tried: shallower ones are beyond the budget.")
    header = ("pipeline", found.rules.measure.name, "p50 ms", "p95 ms", "in budget")
    return Table(header, tuple(rows), tuple(notes))


def _conclude(session: Session, found: CascadeTuning) -> None:
    from tamis.eval.tables import format_p

    budget = f"{found.rules.budget_ms:g} ms"
    if found.recommended is None or found.confirmation is None:
        fastest = min(found.tried, key=lambda one: one.cost.p95_ms)
        session.warn(
            "nothing-within-budget",
            f"nothing keeps to {budget}: the fastest, {fastest.pipeline}, needs {fastest.cost.p95_ms:.2f} ms",
        )
        return
    confirmed, measure = found.confirmation, found.rules.measure.name
    session.write(f"\nrecommended: {found.recommended.pipeline}\n")
    session.write(
        f"on the other {len(confirmed.query_ids)} topics: {measure} {confirmed.mean:.4f}, "
        f"p50 {confirmed.cost.p50_ms:.2f} ms, p95 {confirmed.cost.p95_ms:.2f} ms\n"
    )
    difference = confirmed.difference
    if difference is not None and difference.low is not None and difference.high is not None:
        session.write(
            f"to {found.baseline} ({confirmed.baseline_mean:.4f}): {difference.difference:+.4f}, 95% interval "
            f"{difference.low:+.4f} to {difference.high:+.4f}, p {format_p(difference.p)}\n"
        )
    if not confirmed.within:
        session.warn("budget-not-confirmed", f"on the other topics its p95 is beyond {budget}")
    if difference is not None and not difference.significant:
        session.warn("gain-not-confirmed", f"on the other topics its difference to {found.baseline} is not significant")


def _draw(path: Path, found: CascadeTuning) -> None:
    from tamis.eval.charts import Point, scatter_chart
    from tamis.files import atomic_write

    points = [Point(one.pipeline, one.cost.p95_ms, one.mean) for one in found.tried if one.mean is not None]
    svg = scatter_chart(
        points,
        x_label="95th percentile of a query's milliseconds (logarithmic)",
        y_label=found.rules.measure.name,
        frontier=found.frontier,
        log_x=True,
    )
    with atomic_write(path, text=True) as handle:
        handle.write(svg)
