"""`tamis diagnose`: where a model or a pipeline goes wrong, one command a question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tamis.cli.diagnosis import check_outcome, open_bench, open_whole, read_or_search, sampled_rows, tell
from tamis.cli.options import ForceOption, FormatOption, IndexArgument, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import UsageError

TopicsOption = Annotated[
    str,
    typer.Option("--topics", metavar="TOPICS", help="Topics file (TREC, JSONL, TSV, BEIR folder) or ir_datasets id."),
]
SomeTopicsOption = Annotated[
    str | None, typer.Option("--topics", metavar="TOPICS", help="With an index: topics, as for tamis search.")
]
SomeQrelsOption = Annotated[
    str | None, typer.Option("--qrels", metavar="QRELS", help="Judgements, as for tamis evaluate.")
]
QrelsOption = Annotated[
    str, typer.Option("--qrels", metavar="QRELS", help="Judgements, as for tamis evaluate: file, FOLDER#SPLIT or id.")
]
ModelOption = Annotated[
    str, typer.Option("--model", metavar="ADDRESS", help="The model, e.g. dense:minilm or cross:FOLDER.")
]
PipelineOption = Annotated[
    str, typer.Option("--pipeline", metavar="EXPR", help="What finds each topic's candidates.", show_default=True)
]
SampleOption = Annotated[
    int | None, typer.Option("--sample", metavar="N", help="Judged topics to use, drawn by the seed; all if not given.")
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of samples, orders and intervals.")]
RelOption = Annotated[
    int, typer.Option("--rel", metavar="GRADE", help="Least grade of a relevant document; 2 for TREC Deep Learning.")
]
DepthOption = Annotated[int, typer.Option("--depth", metavar="N", min=1, help="Candidates a topic.")]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE.svg", help="Draw it too (needs tamis[report]).")
]
MeasuresOption = Annotated[
    list[str] | None,
    typer.Option("--measure", "-m", metavar="MEASURE", help="By its ir_measures name, repeatable; nDCG@10 if none."),
]
WordsOption = Annotated[
    int | None,
    typer.Option("--words", metavar="N", help="Words that are kept of every document, so that the model reads all."),
]
SourcesArgument = Annotated[
    list[Path],
    typer.Argument(metavar="INDEX_OR_RUNS", help="An index to search, or TREC or MS MARCO runs.", show_default=False),
]
PipelinesOption = Annotated[
    list[str] | None,
    typer.Option("--pipeline", metavar="EXPR", help="With an index: how to search it, repeatable."),
]
PER_QUERY = typer.Option("--per-query", "-q", help="A row for every query too.")

DEFAULT_MEASURES = ("nDCG@10",)


def diagnose(session: Session) -> None:
    """Find out where a model or a pipeline goes wrong.

    Each command prints tables, takes --format and --plot, and depends on --seed alone. Each takes --json, --quiet,
    --no-progress and --debug as all others do.

    Example: tamis diagnose misses my-index --topics T --qrels Q --pipeline bm25 --pipeline dense:minilm

    Example: tamis diagnose position my-index --topics T --qrels Q --model dense:minilm --plot position.svg
    """


def position(
    session: Session,
    index: IndexArgument,
    model: ModelOption,
    topics: SomeTopicsOption = None,
    qrels: SomeQrelsOption = None,
    pipeline: PipelineOption = "bm25",
    depth: DepthOption = 100,
    full: Annotated[
        bool, typer.Option("--full", help="Rank among all documents of the index, in place of candidates.")
    ] = False,
    positions: Annotated[int, typer.Option("--positions", metavar="N", help="Places of the passage.")] = 10,
    passage: Annotated[int, typer.Option("--passage", metavar="N", help="Words of a passage.")] = 50,
    passages: Annotated[
        Path | None,
        typer.Option("--passages", metavar="FILE", help="Known passages: JSON lines of query, document and text."),
    ] = None,
    segments: Annotated[
        bool,
        typer.Option("--segments", help="In place of it: cosine of each part of a document with the whole."),
    ] = False,
    words: WordsOption = None,
    rel: RelOption = 1,
    sample: SampleOption = 50,
    seed: SeedOption = 0,
    form: FormatOption = "table",
    plot: PlotOption = None,
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Say whether a model sees a relevant passage wherever in a document it stands.

    The passage of one relevant document a topic is moved from the beginning to the end. It is given, or found by the topic's
    words. With --segments, which needs no topics, a sample of documents is cut into as many parts as there are --positions.

    Example: tamis diagnose position my-index --topics T --qrels Q --model dense:minilm --sample 50 --words 150

    Example: tamis diagnose position my-index --model dense:minilm --segments
    """
    from tamis.eval.diagnosis.models import open_text_model
    from tamis.eval.diagnosis.passages import read_passages
    from tamis.eval.diagnosis.position import PositionOptions, position_bias
    from tamis.eval.diagnosis.position_report import position_chart, position_table
    from tamis.eval.diagnosis.segments import segment_bias, segment_chart, segment_table

    check_outcome(form, plot, force=force)
    options = PositionOptions(positions, passage, words, rel, seed)
    known = None if passages is None else read_passages(passages)
    chosen = open_text_model(model)
    if segments:
        with open_whole(session, index, threads) as opened:
            rows = sampled_rows(opened, sample, seed)
            session.resolved.update(documents=len(rows), seed=seed)
            parts = segment_bias(chosen, opened.documents, rows, segments=positions, words=words, seed=seed)
        tell(session, form, parts, [segment_table(parts)], plot, lambda: segment_chart(parts))
        return
    if topics is None or qrels is None:
        raise UsageError(
            "--topics and --qrels are needed: of their relevant passages some are moved (not with --segments)"
        )
    with open_bench(session, index, topics, qrels, rel, sample, seed, threads) as bench:
        found = position_bias(
            chosen,
            bench.index.documents,
            bench.queries,
            bench.everything() if full else bench.candidates(session, pipeline, depth),
            bench.qrels,
            options,
            known=known,
        )
        tell(session, form, found, [position_table(found)], plot, lambda: position_chart(found))


def perturb(
    session: Session,
    index: IndexArgument,
    topics: TopicsOption,
    qrels: QrelsOption,
    model: ModelOption,
    pipeline: PipelineOption = "bm25",
    depth: DepthOption = 20,
    perturbations: Annotated[
        list[str] | None,
        typer.Option(
            "--perturbation",
            metavar="NAME",
            help="identity, shuffle-document, shuffle-query, shuffle-both, sort-document, reverse-document or no-positions, "
            "repeatable; all if none.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", metavar="N", help="Random orders of each kind.")] = 3,
    measures: MeasuresOption = None,
    rel: RelOption = 1,
    sample: SampleOption = 50,
    seed: SeedOption = 0,
    form: FormatOption = "table",
    plot: PlotOption = None,
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Say what word order and positions are to a reranker, or to an encoder that re-scores.

    Example: tamis diagnose perturb my-index --topics T --qrels Q --model cross:my-model --depth 20 --sample 50
    """
    from tamis.eval.diagnosis.models import open_text_model
    from tamis.eval.diagnosis.perturb import check_perturbations, word_order
    from tamis.eval.diagnosis.perturb_report import word_order_chart, word_order_table
    from tamis.eval.measures import parse_measures

    check_outcome(form, plot, force=force)
    parsed = parse_measures(measures or DEFAULT_MEASURES)
    check_perturbations(perturbations or ())
    chosen = open_text_model(model)
    with open_bench(session, index, topics, qrels, rel, sample, seed, threads) as bench:
        found = word_order(
            chosen,
            bench.index.documents,
            bench.queries,
            bench.candidates(session, pipeline, depth),
            bench.qrels,
            parsed,
            perturbations=perturbations or (),
            repeats=repeats,
            seed=seed,
            listener=session.listener,
        )
        tell(session, form, found, [word_order_table(found)], plot, lambda: word_order_chart(found))


def listwise(
    session: Session,
    index: IndexArgument,
    topics: TopicsOption,
    qrels: QrelsOption,
    model: ModelOption,
    pipeline: PipelineOption = "bm25",
    depth: DepthOption = 20,
    orders: Annotated[int, typer.Option("--orders", metavar="N", help="Random or rotated orders of each list.")] = 5,
    way: Annotated[str, typer.Option("--way", metavar="shuffle|rotate", help="How they are made.")] = "shuffle",
    measures: MeasuresOption = None,
    rel: RelOption = 1,
    sample: SampleOption = 20,
    seed: SeedOption = 0,
    form: FormatOption = "table",
    plot: PlotOption = None,
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Say whether the order in which a model is given candidates decides where it puts them.

    A model of lists scores every list 5 + N times. A model of one document at a time has a bias of exactly 0.

    Example: tamis diagnose listwise my-index --topics T --qrels Q --model "listwise:MODEL?endpoint=URL" --sample 20
    """
    from tamis.eval.diagnosis.listwise import order_bias
    from tamis.eval.diagnosis.listwise_report import order_table, slots_chart, slots_table
    from tamis.eval.diagnosis.models import open_text_model
    from tamis.eval.diagnosis.orders import check_orders
    from tamis.eval.measures import parse_measures

    check_outcome(form, plot, force=force)
    parsed = parse_measures(measures or DEFAULT_MEASURES)
    check_orders(way, orders)
    chosen = open_text_model(model)
    with open_bench(session, index, topics, qrels, rel, sample, seed, threads) as bench:
        found = order_bias(
            chosen,
            bench.index.documents,
            bench.queries,
            bench.candidates(session, pipeline, depth),
            bench.qrels,
            parsed,
            orders=orders,
            way=way,
            rel=rel,
            seed=seed,
            listener=session.listener,
        )
        tables = {"csv": [slots_table(found)], "*": [slots_table(found), order_table(found)]}
        tell(session, form, found, tables.get(form, tables["*"]), plot, lambda: slots_chart(found))
    if found.partial:
        session.partial(f"{found.partial} lists were left unfinished by {found.model}")


def truncation(
    session: Session,
    index: IndexArgument,
    model: ModelOption,
    topics: SomeTopicsOption = None,
    qrels: SomeQrelsOption = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            metavar="EXPR",
            help="What ranks; the model itself if it encoded a part of the index, else bm25 % 100 >> MODEL.",
        ),
    ] = None,
    depth: DepthOption = 100,
    measures: MeasuresOption = None,
    rel: RelOption = 1,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", help="Documents (of an encoder) and topics to use, by the seed."),
    ] = None,
    seed: SeedOption = 0,
    form: FormatOption = "table",
    plot: PlotOption = None,
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Count what a model cuts off, and compare topics whose relevant documents are cut with the others.

    Documents and queries of an encoder, pairs of topics and candidates of a reranker. Without topics: an encoder's documents.

    Example: tamis diagnose truncation my-index --model dense:minilm --topics T --qrels Q
    """
    from tamis.cli.truncation import diagnose_truncation
    from tamis.eval.diagnosis.truncation_report import effectiveness_table, truncation_chart, truncation_table

    check_outcome(form, plot, force=force)
    if (topics is None) != (qrels is None):
        raise UsageError("--topics and --qrels go together: give both, or neither")
    found = diagnose_truncation(
        session,
        index,
        model,
        topics,
        qrels,
        pipeline=pipeline,
        depth=depth,
        measures=measures or DEFAULT_MEASURES,
        rel=rel,
        sample=sample,
        seed=seed,
        threads=threads,
    )
    tables = [truncation_table(found)]
    if found.effectiveness is not None and form != "csv":
        tables.append(effectiveness_table(found.effectiveness))
    tell(session, form, found, tables, plot, lambda: truncation_chart(found))


def scores(
    session: Session,
    sources: SourcesArgument,
    qrels: QrelsOption,
    topics: SomeTopicsOption = None,
    pipelines: PipelinesOption = None,
    depth: Annotated[
        int, typer.Option("--depth", metavar="N", min=1, help="Results a topic that are looked at.")
    ] = 100,
    rel: RelOption = 1,
    sample: SampleOption = None,
    seed: SeedOption = 0,
    form: FormatOption = "table",
    plot: PlotOption = None,
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Say whether scores tell relevant results from the others: percentiles by judgement, and the area under the curve.

    Example: tamis diagnose scores bm25.run dense.run --qrels qrels.txt

    Example: tamis diagnose scores my-index --topics T --qrels Q --pipeline bm25 --plot scores.svg
    """
    from tamis.eval.diagnosis.scores import area_table, score_spread, spread_chart, spread_table

    check_outcome(form, plot, force=force)
    rankings, queries, judged = read_or_search(
        session, sources, topics, qrels, pipelines or ["bm25"], depth, rel, sample, seed, threads
    )
    if plot is not None and len(rankings) > 1:
        raise UsageError(
            f"--plot draws the scores of one run, and there are {len(rankings)}: they have scales of their own"
        )
    own = {query: judged[query] for query in queries.ids}
    found = [score_spread(name, ranking, own, rel=rel, seed=seed) for name, ranking in rankings.items()]
    tables = {"csv": [spread_table(found)], "*": [spread_table(found), area_table(found)]}
    tell(session, form, found, tables.get(form, tables["*"]), plot, lambda: spread_chart(found[0]))


def misses(
    session: Session,
    sources: SourcesArgument,
    qrels: QrelsOption,
    topics: SomeTopicsOption = None,
    pipelines: PipelinesOption = None,
    depths: Annotated[
        list[int] | None,
        typer.Option("--depth", metavar="N", help="Results a topic that count, repeatable; 10 and 100."),
    ] = None,
    per_query: Annotated[bool, PER_QUERY] = False,
    rel: RelOption = 1,
    sample: SampleOption = None,
    seed: SeedOption = 0,
    form: FormatOption = "table",
    plot: PlotOption = None,
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Say which relevant documents two first stages find: both, one alone, or neither; what does the second add?

    --json and --format json name the documents of every topic.

    Example: tamis diagnose misses my-index --topics T --qrels Q --pipeline bm25 --pipeline dense:minilm

    Example: tamis diagnose misses bm25.run dense.run --qrels Q --depth 100 --depth 1000
    """
    from tamis.eval.diagnosis.misses import find_misses, misses_chart, misses_table, queries_table

    check_outcome(form, plot, force=force)
    wanted = depths or [10, 100]
    if min(wanted) < 1:
        raise UsageError(f"--depth {min(wanted)}: at least 1 is needed")
    rankings, queries, judged = read_or_search(
        session, sources, topics, qrels, pipelines or [], max(wanted), rel, sample, seed, threads
    )
    found = find_misses(rankings, queries, judged, wanted, rel=rel, seed=seed)
    rows = [queries_table(found)] if per_query else []
    tables = {"csv": rows or [misses_table(found)], "*": [*rows, misses_table(found)]}
    tell(session, form, found, tables.get(form, tables["*"]), plot, lambda: misses_chart(found))


SUBCOMMANDS = {
    "position": position,
    "perturb": perturb,
    "listwise": listwise,
    "truncation": truncation,
    "scores": scores,
    "misses": misses,
}
"""What `tamis.cli.app` makes commands of."""
