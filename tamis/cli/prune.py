"""`tamis prune`: an index without the passages that no query will want, and what shows that none is missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import ForceOption, IndexArgument, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import UsageError

if TYPE_CHECKING:
    from tamis.engine import Index
    from tamis.pruning.certificate import Rules
    from tamis.pruning.cut import Cut
    from tamis.pruning.ladder import Field
    from tamis.pruning.selection import Candidates

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def prune(
    session: Session,
    index: IndexArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="SMALLER", help="Folder of the new index.", show_default=False),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option("--quality", metavar="MODEL", help="Quality model or part; scored first if it is not yet."),
    ] = None,
    drop: Annotated[float | None, typer.Option("--drop", metavar="SHARE", help="Drop this share, e.g. 0.3.")] = None,
    below: Annotated[
        float | None, typer.Option("--below", metavar="SCORE", help="Drop what scores below, in the model's units.")
    ] = None,
    target_size: Annotated[
        str | None, typer.Option("--target-size", metavar="SIZE", help="Drop until the index is so small, e.g. 1GB.")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", metavar="FILE", help="Drop these ids, one a line; needs no model.")
    ] = None,
    postings: Annotated[
        str | None,
        typer.Option(
            "--postings",
            metavar="METHOD",
            help="Drop single postings of BM25 instead: carmel?k=10&epsilon=0.5, kl?share=0.5.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="FILE", help="Drop what this certificate allows.")
    ] = None,
    keep_last_passage: Annotated[
        bool | None,
        typer.Option(
            "--keep-last-passage/--no-keep-last-passage",
            help="Never drop all passages of a document; on for indexes of passages.",
            show_default=False,
        ),
    ] = None,
    keep_list: Annotated[
        Path | None, typer.Option("--keep-list", metavar="FILE", help="Ids that never go, one a line.")
    ] = None,
    certify: Annotated[
        Path | None,
        typer.Option(
            "--certify", metavar="FILE", help="Find out how much may go: write a certificate (JSON, .md, .svg)."
        ),
    ] = None,
    topics: Annotated[str | None, typer.Option("--topics", metavar="TOPICS", help="With --certify.")] = None,
    qrels: Annotated[str | None, typer.Option("--qrels", metavar="QRELS", help="With --certify.")] = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option("--pipeline", metavar="EXPR", help="With --certify: must hold for it, repeatable; bm25 if none."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", "-m", metavar="MEASURE", help="With --certify: repeatable; nDCG@10 if none."),
    ] = None,
    bound: Annotated[
        str, typer.Option("--bound", metavar="5%|0.02", help="With --certify: largest loss that does not matter.")
    ] = "5%",
    alpha: Annotated[float, typer.Option("--alpha", help="With --certify: risk of a false certificate.")] = 0.05,
    correction: Annotated[
        str,
        typer.Option("--correction", metavar="holm|bonferroni|sequence", help="With --certify: for many tests."),
    ] = "holm",
    levels: Annotated[
        str | None, typer.Option("--levels", metavar="SHARE,…", help="With --certify: 0.05 to 0.95 if not given.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="With --certify: of the split of the topics.")] = 0,
    watts: Annotated[float, typer.Option("--watts", help="With --certify: assumed draw of the machine.")] = 65.0,
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Make a smaller index, without the passages of the lowest quality.

    Every part of the new index holds what is left and nothing else, and ranks it as a fresh build of it would; nothing is
    encoded again. Documents that went are kept out of later adds until `tamis restore`.

    With --certify, levels of 5 % to 95 % are tried on judged topics: half of them choose the deepest level at which every
    pipeline is equivalent to the whole index, the other half confirms it. With -o too, that level is then cut.

    Example: tamis prune my-index -o smaller --quality itn --drop 0.3

    Example: tamis prune my-index --quality itn --certify itn.json --topics topics.tsv --qrels qrels.txt
    """
    from tamis.cli.delete import read_ids
    from tamis.engine import Index
    from tamis.pruning.cut import check_output, prune_index, prune_to_size
    from tamis.pruning.scoring import score_index

    ways = {
        "--drop": drop,
        "--below": below,
        "--target-size": target_size,
        "--rows": rows,
        "--postings": postings,
        "--certificate": certificate,
        "--certify": certify,
    }
    _check_asked(ways, output, quality, topics, qrels)
    target = parse_size(target_size) if target_size is not None else None
    if output is not None:
        check_output(output, overwrite=force)
    if postings is not None and output is not None:
        _prune_postings(session, index, output, postings, force=force, threads=threads)
        return
    asked = None
    if certify is not None:
        rules: dict[str, Any] = {"bound": bound, "alpha": alpha, "correction": correction, "seed": seed, "watts": watts}
        tried: dict[str, Any] = {"topics": topics, "qrels": qrels, "pipelines": pipeline or ["bm25"]}
        asked = _read_asked({**tried, "levels": levels, "measures": measure or ["nDCG@10"]}, rules)
    session.resumable = True
    with Index.open(index, threads=threads, listener=session.listener) as opened:
        chosen, level = quality, drop
        if certificate is not None:
            kept = read_ids(keep_list) if keep_list else []
            chosen, level, protected = _allowed(certificate, opened, quality, kept)
            if keep_last_passage not in (None, protected):
                raise UsageError(
                    f"{certificate} was made with{'' if protected else 'out'} --keep-last-passage: leave the choice to it"
                )
            keep_last_passage = protected
        for name in asked.field.pipelines if asked else ():
            opened.prepare(name)  # a part that is missing is found before a model works for hours
        if chosen is not None:
            score_index(opened, chosen, listener=session.listener)
        keep_last = opened.manifest.settings.passages is not None if keep_last_passage is None else keep_last_passage
        protection = {"keep_last": keep_last and rows is None, "keep": read_ids(keep_list) if keep_list else []}
        if asked is not None and certify is not None:
            level = _certify(session, opened, str(chosen), certify, asked, protection, threads or 2)
            if output is not None and not level:
                session.warn("not-certified", f"no level was certified, so {output} was not made")
        if output is None or level == 0:
            return
        candidates, record = _candidates(opened, chosen, protection)
        shared: dict[str, Any] = {"overwrite": force, "threads": threads or 2, "listener": session.listener}
        if target is not None:
            cut = prune_to_size(opened, output, target, candidates.first, record, **shared)
        else:
            if rows is not None:
                gone, record["rows_file"] = candidates.named(read_ids(rows)), rows.name
            elif below is not None:
                gone, record["below"] = candidates.below(below), below
            else:
                assert level is not None  # noqa: S101 - one way was given
                gone, record["drop"] = candidates.lowest(level), level
            cut = prune_index(opened, output, gone, record, **shared)
    _report(session, index, output, cut)


def _prune_postings(
    session: Session, index: Path, output: Path, method: str, *, force: bool, threads: int | None
) -> None:
    from tamis.cli.drawing import format_bytes
    from tamis.engine import Index
    from tamis.pruning.postings import prune_postings

    with Index.open(index, threads=threads, listener=session.listener) as opened:
        cut, share = prune_postings(
            opened, output, method, overwrite=force, threads=threads or 2, listener=session.listener
        )
    session.artifacts["index"] = str(output)
    session.resolved.update(index=cut.manifest.index, generation=cut.manifest.generation)
    session.metrics.update(
        postings_kept=share, bytes_before=dict(cut.before), bytes=dict(cut.after), seconds=round(cut.seconds, 3)
    )
    sizes = f"{format_bytes(cut.before['terms'])} before, {format_bytes(cut.after['terms'])} now"
    session.note(f"{output}: {100 * share:.1f} % of the postings kept, {sizes}")


def _check_asked(
    ways: dict[str, Any], output: Path | None, quality: str | None, topics: str | None, qrels: str | None
) -> None:
    """Check that the command says one thing.

    Raises:
        UsageError: it does not.
    """
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        said = f"not {' and '.join(given)}" if given else "none was given"
        raise UsageError(f"say in one way what is to go ({', '.join(ways)}): {said}")
    if output is None and given != ["--certify"]:
        raise UsageError("name the folder of the new index with -o: the index that is pruned stays as it is")
    if quality is None and given[0] not in ("--rows", "--postings", "--certificate"):
        raise UsageError("name a quality model with --quality, such as itn; tamis quality INDEX lists them")
    if given == ["--certify"] and (topics is None or qrels is None):
        raise UsageError("--certify needs --topics and --qrels")


def _candidates(opened: Index, quality: str | None, protection: dict[str, Any]) -> tuple[Candidates, dict[str, Any]]:
    """Return what may go, and what the new index is to remember of the choice."""
    from tamis.pruning.scoring import quality_part
    from tamis.pruning.selection import Candidates

    part = None if quality is None else quality_part(opened, quality)
    documents: Any = opened.documents
    record: dict[str, Any] = {"keep_last_passage": protection["keep_last"], "keep_list": len(protection["keep"])}
    if part is not None:
        record["quality"] = {name: part.entry.model[name] for name in ("address", "fingerprint")}
    return Candidates(documents, part, **protection), record


def _allowed(path: Path, opened: Index, quality: str | None, keep: Sequence[str]) -> tuple[str, float, bool]:
    """Return the quality model, the level and the protection of last passages that a certificate states.

    Raises:
        UsageError: it is of another model, or of another list of what never goes, than is asked for.
    """
    from tamis.files import sha256_json
    from tamis.pruning.certificate import certified_level, read_certificate
    from tamis.pruning.scoring import find_quality

    found = read_certificate(path)
    level = certified_level(found, opened.manifest, path)
    model = found["inputs"]["quality"]["address"]
    if quality is not None and find_quality(opened.manifest, quality) != find_quality(opened.manifest, model):
        raise UsageError(f"{path} is of the quality model {model}, not of {quality}")
    if found["inputs"]["keep"]["sha256"] != sha256_json(sorted(keep)):
        raise UsageError(
            f"{path} was made with a --keep-list of {found['inputs']['keep']['count']} ids, and now {len(keep)} or others are "
            "given: what it shows holds for that list only"
        )
    return model, level, found["inputs"]["keep_last_passage"]


@dataclass(frozen=True)
class _Asked:
    """What a certificate is asked for, read and checked."""

    field: Field
    rules: Rules
    levels: Sequence[float]


def _read_asked(tried: dict[str, Any], stated: dict[str, Any]) -> _Asked:
    from tamis.data.qrels import read_qrels
    from tamis.data.topics import read_topics
    from tamis.eval.equivalence import Bound
    from tamis.eval.measures import parse_measures
    from tamis.pruning.certificate import DEFAULT_LEVELS, Rules, check_levels, make_field

    measures = parse_measures(tried["measures"])
    rules = Rules(measures, **{**stated, "bound": Bound.parse(stated["bound"])})
    levels = DEFAULT_LEVELS if tried["levels"] is None else parse_levels(tried["levels"])
    check_levels(levels)
    field = make_field(read_topics(tried["topics"]), read_qrels(tried["qrels"]), tried["pipelines"], measures)
    return _Asked(field, rules, levels)


def _certify(
    session: Session,
    opened: Index,
    quality: str,
    path: Path,
    asked: _Asked,
    protection: dict[str, Any],
    threads: int,
) -> float:
    """Make a certificate, write it with its report and curve, and return the certified level."""
    import shutil

    from tamis.files import atomic_write, write_json
    from tamis.pruning.certificate import certify
    from tamis.pruning.report import draw_curve, percent, write_report

    work = path.with_name(f".{path.name}.work")
    running: dict[str, Any] = {"levels": asked.levels, "threads": threads, "listener": session.listener}
    found = certify(opened, quality, asked.field, asked.rules, work, **protection, **running)
    write_json(path, found.to_json())
    curve, report = path.with_suffix(".svg"), path.with_suffix(".md")
    for target, text in ((curve, draw_curve(found)), (report, write_report(found, curve.name))):
        with atomic_write(target, text=True) as handle:
            handle.write(text)
    shutil.rmtree(work, ignore_errors=True)
    session.artifacts.update(certificate=str(path), report=str(report), curve=str(curve))
    session.resolved.update(index=opened.manifest.index, generation=opened.generation)
    session.results = {"certified": found.certified, "chosen": found.chosen}
    session.metrics.update(
        topics=len(asked.field.queries), levels=len(found.rungs) - 1, seconds=round(session.seconds, 3)
    )
    session.write(f"certified: {percent(found.certified)}\n")
    session.note(f"chosen on {len(found.halves[0])} topics: {percent(found.chosen)}; report: {report}")
    if found.certified:
        session.note(f"next: tamis prune {opened.path} -o SMALLER --certificate {path}")
    return found.certified


def _report(session: Session, index: Path, output: Path, cut: Cut) -> None:
    from tamis.cli.drawing import format_bytes

    session.artifacts["index"] = str(output)
    session.resolved.update(index=cut.manifest.index, generation=cut.manifest.generation)
    session.metrics.update(
        dropped=cut.rows,
        rows=cut.kept,
        bytes_before=dict(cut.before),
        bytes=dict(cut.after),
        seconds=round(cut.seconds, 3),
    )
    session.note(
        f"{output}: {cut.rows:,} of {cut.rows + cut.kept:,} rows dropped, {format_bytes(cut.before['total'])} before, "
        f"{format_bytes(cut.after['total'])} now, {cut.seconds:.1f} s"
    )
    for name, size in cut.after.items():
        if name != "total" and (before := cut.before.get(name)):
            session.note(f"  {name:<24} {format_bytes(size):>10}  {100 * size / before:.0f} %")
    if not cut.rows:
        session.warn("nothing-dropped", f"no row of {index} was to go: {output} holds all of them")


def parse_size(text: str) -> int:
    """Return a number of bytes: ``1GB``, ``500 MB``, ``2GiB``, ``123456``.

    Raises:
        UsageError: it is none.
    """
    stripped = text.strip().lower()
    number = stripped.rstrip("bkmgi").strip()
    unit = stripped[len(number) :].strip()
    try:
        size = float(number) * _UNITS[unit]
        if not 1 <= size < 1e18:
            raise ValueError
    except (ValueError, KeyError):
        raise UsageError(f"size {text!r}: write a number with KB, MB, GB, KiB, MiB or GiB, such as 1GB") from None
    return int(size)


def parse_levels(text: str) -> list[float]:
    """Return shares as written: ``0.05,0.1,0.2``.

    Raises:
        UsageError: one is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"levels {text!r}: write shares with commas between them, such as 0.05,0.1,0.2") from None
