"""`tamis index`: from a corpus to an index; the same command goes on where an interrupted one stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamis.cli.options import CorpusArgument, ForceOption, IdFieldOption, OnBadLineOption, ThreadsOption
from tamis.cli.session import Session
from tamis.errors import OutputExistsError

if TYPE_CHECKING:
    from tamis.cli.corpora import Source
    from tamis.engine import Index
    from tamis.indexer.layout import Settings


def index(
    session: Session,
    corpus: CorpusArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="INDEX", help="Folder to make.", show_default=False)
    ],
    fields: Annotated[
        str | None,
        typer.Option("--fields", metavar="NAME^WEIGHT,…", help="Searched fields, e.g. title^2,body; else all in one."),
    ] = None,
    passages: Annotated[
        str | None,
        typer.Option("--passages", metavar="tokens:N/M", help="Cut documents into windows of N words every M words."),
    ] = None,
    filterable: Annotated[
        str | None, typer.Option("--filterable", metavar="KEY,…", help="Metadata to keep as typed columns.")
    ] = None,
    analyzer: Annotated[
        str,
        typer.Option(
            "--analyzer",
            metavar="NAME",
            help="english, english:krovetz, english:none, whitespace, or a language code such as de.",
        ),
    ] = "english",
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            metavar="[NAME=]MODEL",
            help="Encode the documents with a model too, e.g. dense:minilm; repeatable.",
        ),
    ] = None,
    keep_quality: Annotated[
        str | None,
        typer.Option(
            "--keep-quality",
            metavar="MODEL>=q0.3",
            help="Leave out documents of low quality before anything is encoded: the lowest 30 %, or MODEL>=SCORE.",
        ),
    ] = None,
    id_field: IdFieldOption = None,
    on_bad_line: OnBadLineOption = "error",
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Build an index from a corpus.

    The same command, run again after an interrupt, does only what is missing; over a finished index of the same corpus it
    does nothing.

    Example: tamis index beir/scifact -o scifact-index

    Example: tamis index beir/scifact -o scifact-index --part dense:minilm

    Example: tamis index beir/scifact -o scifact-index --keep-quality "itn>=q0.3"
    """
    from tamis.cli.corpora import open_source, report_added
    from tamis.cli.keep_quality import parse_keep
    from tamis.cli.parts import add_parts, parse_part
    from tamis.engine import Index, make_settings
    from tamis.files import replace_folder
    from tamis.indexer.layout import generations
    from tamis.indexer.lock import WriterLock
    from tamis.indexer.writer import AddReport

    keys = [key.strip() for key in filterable.split(",") if key.strip()] if filterable else []
    settings = make_settings(analyzer, fields, passages, keys)
    parts = [parse_part(text) for text in part or ()]
    kept = parse_keep(keep_quality) if keep_quality is not None else None
    source = open_source(corpus, id_field=id_field, on_bad_line=on_bad_line)
    if kept is not None:
        from tamis.cli.keep_quality import index_kept

        opened, report = index_kept(session, source, output, settings, kept, threads, force=force)
        with opened:
            if parts:
                add_parts(session, opened, parts)
            report_added(session, opened, source, report)
        return
    # An index that is to be replaced stays as it is until the new one stands beside it.
    replaces = force and bool(generations(output))
    folder = output.with_name(f"{output.name}.new") if replaces else output
    with open_or_create(session, folder, settings, source, threads, replaces=replaces) as opened:
        session.resumable = True
        if opened.generation == 0 and opened.inspect()["unfinished_jobs"]:
            session.note(f"{folder} was left unfinished: going on where it stopped")
        if not _holds(opened, source):
            report = opened.add(source.documents(session.listener), fingerprint=source.fingerprint, total=source.total)
        else:
            report = AddReport(opened.generation, unchanged=True)
        if parts:
            add_parts(session, opened, parts)
    if replaces:
        with WriterLock(output):
            replace_folder(folder, output)
    with Index.open(output) as finished:
        report_added(session, finished, source, report)


def open_or_create(
    session: Session, folder: Path, settings: Settings, source: Source, threads: int | None, *, replaces: bool
) -> Index:
    """Open the index that this command began earlier, or make an empty one.

    Raises:
        OutputExistsError: the folder is taken by something else.
    """
    from tamis.engine import Index
    from tamis.indexer.layout import generations
    from tamis.indexer.writer import create_index

    listener = session.listener
    if folder.is_dir() and generations(folder):  # `create_index` refuses whatever else is in the way
        opened = Index.open(folder, threads=threads, listener=listener)
        try:
            _check_same(opened, settings, source)
        except OutputExistsError:
            opened.close()
            if not replaces:
                raise
        else:
            return opened
    create_index(folder, settings, overwrite=replaces)
    return Index.open(folder, threads=threads, listener=listener)


def _check_same(opened: Index, settings: Settings, source: Source) -> None:
    """Check that an index that is there already is the one that this command would make.

    Raises:
        OutputExistsError: it has other settings, or holds other documents.
    """
    manifest = opened.manifest
    if manifest.settings != settings:
        raise OutputExistsError(
            f"{opened.path} holds an index with other settings ({manifest.settings}): choose another folder, or pass --force "
            "to replace it"
        )
    if manifest.generation == 0:
        return
    if not _holds(opened, source):
        raise OutputExistsError(
            f"{opened.path} holds an index already (generation {manifest.generation}) that is not just {source.corpus.name}: add "
            f"to it with  tamis add {opened.path} CORPUS , choose another folder, or pass --force to replace it"
        )


def _holds(opened: Index, source: Source) -> bool:
    """Whether an index holds this corpus, all of it and nothing else."""
    from tamis.files import canonical_json

    manifest = opened.manifest
    made_from = [canonical_json(made.get("fingerprint")) for made in manifest.sources]
    return made_from == [canonical_json(source.fingerprint)] and manifest.changed == 1
