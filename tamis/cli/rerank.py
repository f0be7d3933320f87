"""`tamis rerank`: the candidates of a run in a model's order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import ForceOption, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import MissingResourceError, UsageError

_SAID = {
    "scored": "scored",
    "cached": "from the cache",
    "calls": "calls",
    "repairs": "repairs",
    "failed": "failed",
    "late": "late",
    "truncated": "truncated",
}

if TYPE_CHECKING:
    from tamis.families import Address
    from tamis.ranking import Queries, Ranking
    from tamis.stages import PartSource, Rescorer


def rerank(
    session: Session,
    texts: Annotated[
        str,
        typer.Argument(
            metavar="INDEX_OR_CORPUS",
            help="Where the documents' texts are: an index, or a corpus as for tamis index.",
            show_default=False,
        ),
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="TREC or MS MARCO run.", show_default=False)],
    topics: Annotated[
        str,
        typer.Option(
            "--topics", metavar="TOPICS", help="Topics file (TREC, JSONL, TSV, BEIR folder) or ir_datasets id."
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="ADDRESS", help="What scores, e.g. cross:FOLDER or dense:minilm.")
    ],
    depth: Annotated[
        int, typer.Option("--depth", metavar="N", help="Candidates a query that are scored; the rest follows below.")
    ] = 100,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN", help="Run file to write, .gz to compress; else standard output."),
    ] = None,
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="Last column of the run.")] = "tamis",
    form: Annotated[str, typer.Option("--format", metavar="trec|msmarco", help="Form of the run.")] = "trec",
    field: Annotated[
        str, typer.Option("--field", metavar="FIELD", help="Topic field: title, desc, narr, or several joined by +.")
    ] = "title",
    record: Annotated[
        Path | None,
        typer.Option(
            "--record", metavar="FILE", help="Listwise models: keep every call; what it holds is not asked again."
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", metavar="FILE", help="Listwise models: answer from the calls in FILE alone."),
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", metavar="TOKENS", help="Listwise models: tokens that may be spent in all.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option("--deadline", metavar="TIME", help="Keep the best order so far after 30s, 500ms …")
    ] = None,
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Re-score the first candidates of a run with a model.

    Example: tamis rerank my-index bm25.run --topics topics.tsv --model dense:minilm --depth 100 -o dense.run

    Example: tamis rerank corpus.jsonl bm25.run --topics topics.tsv --model "cross:my-model?windows=tokens:256/128"
    """
    import time

    from tamis.cli.run_output import check_output, provenance, put_run, warn_partial
    from tamis.cli.search import parse_deadline
    from tamis.data.runs import read_run
    from tamis.data.topics import read_topics, topics_identity
    from tamis.families import Address
    from tamis.files import sha256_file
    from tamis.ranking import check_k

    check_k(depth)
    check_output(output, form, force=force)
    seconds_left = parse_deadline(deadline)
    options = {"record": record, "replay": replay, "budget": budget, "deadline": seconds_left}
    address = _with_options(Address.parse(model), options)
    queries = read_topics(topics, field=field)
    given = read_run(run, listener=session.listener)
    session.resolved.update(
        model=str(address),
        depth=depth,
        run={"name": run.name, "sha256": sha256_file(run)},
        topics=topics_identity(topics, queries),
    )
    with _opened(session, texts, given, depth, threads) as (source, candidates):
        stage = _rescorer(source, address)
        asked, positions = _match(session, queries, candidates)
        session.resumable = True  # what was scored is in the cache
        begun = time.perf_counter()
        ranking = _put_back(candidates, positions, _rescored(session, stage, asked, candidates.take(positions), depth))
        seconds = time.perf_counter() - begun
        session.resumable = False
        session.metrics.update(queries=len(asked), lines=len(ranking.rows))
        session.metrics.update({**_cost(stage), "seconds": round(seconds, 4)})
        manifest = provenance(**session.resolved, metrics=session.metrics)
        put_run(session, ranking, output, tag=tag, form=form, force=force, manifest=manifest)
    warn_partial(session, ranking)
    session.note(_report(session.metrics, seconds))
    if output is not None:
        session.note(f"{output}: written, with its manifest {session.artifacts['manifest']}")
        session.note(f"next: tamis evaluate QRELS {run} {output} -m nDCG@10")


def _with_options(address: Address, options: Mapping[str, Any]) -> Address:
    """Return the address with what options of the command say.

    Raises:
        UsageError: the model has no such option, or its address says it already.
    """
    from tamis.families import family

    given = {name: str(value) for name, value in options.items() if value is not None}
    known, own = family(address.family).Options.__dataclass_fields__, dict(address.options)
    for name in given:
        if name not in known:
            raise UsageError(f"--{name}: {address.family} has no such option; see  tamis models {address.family}")
        if name in own:
            raise UsageError(f"--{name} is given, and {address} says {name}={own[name]}: say it once")
    return replace(address, options=tuple(sorted({**own, **given}.items())))


@contextlib.contextmanager
def _opened(
    session: Session, texts: str, given: Ranking, depth: int, threads: int | None
) -> Iterator[tuple[PartSource, Ranking]]:
    """Open the index or read the corpus, and express the run in its rows."""
    from tamis.data.corpus import open_corpus
    from tamis.data.selection import SelectedDocuments, missing_documents
    from tamis.engine import Index
    from tamis.indexer.foreign import is_lucene_folder
    from tamis.indexer.layout import FORMAT

    folder = Path(texts)
    if (folder / FORMAT).exists() or is_lucene_folder(folder):
        with Index.open(folder, threads=threads, listener=session.listener) as index:
            candidates = given.rebind(index.documents)
            if len(candidates.rows) < len(given.rows):
                ids = sorted(set(given.space.ids(given.rows)))
                held = index.documents.rows(ids) >= 0
                lost = [doc_id for doc_id, there in zip(ids, held.tolist(), strict=True) if not there]
                raise missing_documents(lost, len(ids), texts)
            session.resolved.update(space=index.documents.key, generation=index.generation, index_path=str(index.path))
            yield index, candidates
    else:
        corpus = open_corpus(texts)
        wanted = given.space.ids(given.cut(depth).rows)
        documents = SelectedDocuments(given.space.ids(given.rows), corpus, wanted, listener=session.listener)
        session.resolved.update(corpus=corpus.name)
        yield _CorpusSource(documents), given.rebind(documents)


class _CorpusSource:
    """A `tamis.stages.PartSource` without parts."""

    def __init__(self, documents: Any) -> None:
        self.documents = documents

    def part(self, name: str) -> Any:
        raise MissingResourceError(f"a corpus has no part {name!r}: give an index that does")

    def models(self) -> Mapping[str, str]:
        return {}


def _rescorer(source: PartSource, address: Any) -> Rescorer:
    from tamis.families import open_model
    from tamis.stages import Rescorer

    stage = open_model(source, address)
    if not isinstance(stage, Rescorer):
        raise UsageError(f"{address} cannot re-score candidates: name a reranker, or a model that encodes documents")
    return stage


def _match(session: Session, queries: Queries, candidates: Ranking) -> tuple[Queries, list[int]]:
    """Return the queries of the run that the topics hold, and where the run has them; say which are left as they are.

    Raises:
        UsageError: it holds none of them.
    """
    known = {query: position for position, query in enumerate(queries.ids)}
    positions = [i for i, query in enumerate(candidates.query_ids) if query in known]
    absent = [query for query in candidates.query_ids if query not in known]
    if absent and not positions:
        raise UsageError(f"the topics hold no query of the run, such as {absent[0]!r}: give the topics it was made for")
    if absent:
        shown = ", ".join(absent[:3]) + (" …" if len(absent) > 3 else "")
        session.warn(
            "queries-without-topic",
            f"{len(absent)} queries of the run are not among the topics and keep their order: {shown}",
        )
    return queries.take([known[candidates.query_ids[i]] for i in positions]), positions


def _rescored(session: Session, stage: Rescorer, queries: Queries, candidates: Ranking, depth: int) -> Ranking:
    from tamis.pipeline.runner import rescore_top
    from tamis.rerankers.base import Reranker

    if not isinstance(stage, Reranker):
        return rescore_top(stage, queries, candidates, depth)
    reranker: Reranker = stage

    class Told:
        def rescore(self, queries: Queries, ranking: Ranking) -> Ranking:
            return reranker.rescore(queries, ranking, listener=session.listener)

    return rescore_top(Told(), queries, candidates, depth, name=stage.name)


def _put_back(candidates: Ranking, positions: list[int], scored: Ranking) -> Ranking:
    """Return all lists of `candidates`, those at `positions` as they were scored."""
    from tamis.ranking import Ranking

    where = {position: i for i, position in enumerate(positions)}
    sources = [(scored, where[i]) if i in where else (candidates, i) for i in range(len(candidates))]
    return Ranking.from_lists(
        candidates.space,
        candidates.query_ids,
        [ranking.at(i) for ranking, i in sources],
        partial=[bool(ranking.partial[i]) for ranking, i in sources],
    )


def _cost(stage: Rescorer) -> dict[str, Any]:
    from tamis.rerankers.base import Reranker

    return stage.cost() if isinstance(stage, Reranker) else {}


def _report(metrics: dict[str, Any], seconds: float) -> str:
    """Say in a line what was done, by the counts that the model keeps."""
    parts = [f"{metrics['queries']:,} queries"]
    for whole in ("pairs", "lists", "candidates"):
        parts += [f"{metrics[whole]:,} {whole}"] if whole in metrics else []
    made = [f"{metrics[name]:,} {text}" for name, text in _SAID.items() if metrics.get(name)]
    return ", ".join(parts) + (f" ({', '.join(made)})" if made else "") + f" in {seconds:.2f} s"
