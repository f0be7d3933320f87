"""`tamis search`: one query as a table for people, or a set of topics as a run."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import FilterOption, ForceOption, IndexArgument, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from tamis.data.filters import Filter
    from tamis.engine import Index
    from tamis.pipeline import Pipeline

ONE_QUERY_K, TOPICS_K = 10, 1000
SYNTAXES = ("text", "lucene")
_PUNCTUATION = re.compile(r"[^\w\s]+")


def search(
    session: Session,
    index: IndexArgument,
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="The query: plain text.", show_default=False)
    ] = None,
    topics: Annotated[
        str | None,
        typer.Option(
            "--topics", metavar="TOPICS", help="Topics file (TREC, JSONL, TSV, BEIR folder) or ir_datasets id."
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline", metavar="EXPR", help='How to search, e.g. "rrf(bm25, ql) % 100"; bm25 if not given.'
        ),
    ] = None,
    filter: FilterOption = None,  # noqa: A002 - the option's name
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline",
            metavar="TIME",
            help="What each stage may take, e.g. 200ms; then the best so far, exit code 7.",
        ),
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", metavar="K", help="Results a query: 10 for one query, 1000 for topics.")
    ] = None,
    syntax: Annotated[
        str,
        typer.Option(
            "--syntax", metavar="text|lucene", help="text: no character has a meaning; lucene: its query language."
        ),
    ] = "text",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN", help="Run file to write, .gz to compress; else standard output."),
    ] = None,
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="Last column of the run.")] = "tamis",
    form: Annotated[str, typer.Option("--format", metavar="trec|msmarco", help="Form of the run.")] = "trec",
    field: Annotated[
        str, typer.Option("--field", metavar="FIELD", help="Topic field: title, desc, narr, or several joined by +.")
    ] = "title",
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Search an index: one query as a table, or a topics file as a run.

    Example: tamis search my-index "what is a drum sieve" -k 5

    Example: tamis search my-index "drum sieve" --filter 'year >= 1970 and lang == "en"'

    Example: tamis search my-index --topics topics.tsv --pipeline "rrf(bm25, ql)" -o rrf.run.gz
    """
    from tamis.ranking import check_k

    if (query is None) == (topics is None):
        raise UsageError(
            'give either one query, as in  tamis search INDEX "my query" , or a file of them with --topics'
        )
    if query is not None and (output is not None or tag != "tamis" or form != "trec" or field != "title"):
        raise UsageError("--output, --tag, --format and --field are for runs: give --topics in place of a query")
    limit = k if k is not None else ONE_QUERY_K if query is not None else TOPICS_K
    check_k(limit)
    chosen, allowed = parse_pipeline(pipeline, syntax, parse_deadline(deadline)), parse_filter_option(filter)
    session.resolved.update(pipeline=str(chosen), k=limit, filter=None if allowed is None else str(allowed))
    if query is not None:
        terms = _PUNCTUATION.sub(" ", query) if syntax == "lucene" else query
        _search_one(session, index, query, chosen, allowed, limit, threads, highlight=terms)
    else:
        _search_topics(
            session,
            index,
            str(topics),
            chosen,
            allowed,
            limit,
            threads,
            field=field,
            output=output,
            tag=tag,
            form=form,
            force=force,
        )


def parse_deadline(text: str | None, option: str = "--deadline") -> float | None:
    """Return the seconds that an option means: ``200ms``, ``1.5s``, or a bare number of seconds.

    Raises:
        UsageError: it is no duration above 0.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s)?", text.strip())
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else 0.0
    if not seconds > 0:
        raise UsageError(f"{option} {text}: a time above 0 is wanted, such as 200ms or 1.5s")
    return seconds


def parse_pipeline(text: str | None, syntax: str = "text", deadline: float | None = None) -> Pipeline:
    """Return the pipeline that the options mean, its names checked before anything is opened.

    Args:
        text: as written, or None.
        syntax: of the query.
        deadline: seconds for every stage that can keep to one.

    Raises:
        UsageError: it is malformed, names something unknown, or is given together with a query syntax.
    """
    from tamis.pipeline import Pipeline, check, with_option

    if syntax not in SYNTAXES:
        raise UnknownNameError("query syntax", syntax, SYNTAXES)
    if syntax != "text":
        if text is not None:
            raise UsageError(
                f"--syntax goes with the default pipeline: write bm25?syntax={syntax} inside {text!r} instead"
            )
        text = f"bm25?syntax={syntax}"
    chosen = Pipeline.of(text if text is not None else "bm25")
    check(chosen)
    return chosen if deadline is None else with_option(chosen, "deadline", repr(deadline))


def parse_filter_option(text: str | None) -> Filter | None:
    """Return the filter that ``--filter`` means, or None.

    Raises:
        ParseError: it is malformed.
    """
    if text is None:
        return None
    from tamis.data.filters import parse_filter

    return parse_filter(text)


def _search_one(
    session: Session,
    folder: Path,
    query: str,
    pipeline: Pipeline,
    allowed: Filter | None,
    k: int,
    threads: int | None,
    *,
    highlight: str,
) -> None:
    from tamis.cli.hits import write_hits
    from tamis.cli.run_output import warn_partial
    from tamis.data.sources import replace_surrogates
    from tamis.engine import Index

    query = replace_surrogates(query)  # an argument that is not UTF-8
    with Index.open(folder, threads=threads, listener=session.listener) as opened:
        begun = time.perf_counter()
        ranking = opened.rank(query, k, pipeline=pipeline, filter=allowed)
        hits = opened.hits(ranking, "1")
        seconds = time.perf_counter() - begun
        session.resolved.update(_identity(opened))
        session.metrics.update(hits=len(hits), seconds=round(seconds, 4))
        write_hits(session, opened, highlight, hits)
    found = f"{len(hits)} result{'' if len(hits) == 1 else 's'}" if hits else "no results"
    session.note(f"{found} in {seconds:.2f} s ({pipeline}, {folder} generation {session.resolved['generation']})")
    warn_partial(session, ranking)


def _search_topics(
    session: Session,
    folder: Path,
    topics: str,
    pipeline: Pipeline,
    allowed: Filter | None,
    k: int,
    threads: int | None,
    *,
    field: str,
    output: Path | None,
    tag: str,
    form: str,
    force: bool,
) -> None:
    from tamis.cli.run_output import check_output, provenance, put_run, warn_partial
    from tamis.data.topics import read_topics, topics_identity
    from tamis.engine import Index

    check_output(output, form, force=force)
    queries = read_topics(topics, field=field)
    with Index.open(folder, threads=threads, listener=session.listener) as opened:
        opened.prepare(pipeline)
        begun = time.perf_counter()
        ranking = opened.rank(queries, k, pipeline=pipeline, filter=allowed)
        seconds = time.perf_counter() - begun
        session.resolved.update(_identity(opened), topics=topics_identity(topics, queries))
        empty = sum(1 for _, rows, _ in ranking.lists() if not len(rows))
        session.metrics.update(
            queries=len(queries),
            queries_without_results=empty,
            lines=len(ranking.rows),
            seconds=round(seconds, 4),
            queries_per_second=round(len(queries) / seconds, 1) if seconds else None,
            stage_seconds={stage: round(spent, 4) for stage, spent in session.stage_seconds.items()},
        )
        manifest = provenance(**session.resolved, metrics=session.metrics)
        put_run(session, ranking, output, tag=tag, form=form, force=force, manifest=manifest)
    warn_partial(session, ranking)
    if empty:
        session.warn("queries-without-results", f"{empty} of {len(queries)} queries found nothing")
    session.note(
        f"{len(queries):,} queries, {len(ranking.rows):,} results in {seconds:.2f} s "
        f"({session.metrics['queries_per_second']:,} queries/s)"
    )
    if output is not None:
        session.note(f"{output}: written, with its manifest {session.artifacts['manifest']}")
        session.note(f"next: tamis evaluate QRELS {output} -m nDCG@10 -m R@100")


def _identity(opened: Index) -> dict[str, Any]:
    return {"space": opened.documents.key, "generation": opened.generation, "index_path": str(opened.path)}
