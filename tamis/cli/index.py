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
    id_field: IdFieldOption = None,
    on_bad_line: OnBadLineOption = "error",
    force: ForceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Build an index from a corpus.

    The same command, run again after an interrupt, does only what is missing; over a finished index of the same corpus it
    does nothing.

    Example: tamis index beir/scifact -o scifact-index
    """
    from tamis.cli.corpora import open_source, report_added
    from tamis.engine import Index, make_settings
    from tamis.indexer.layout import generations

    keys = [key.strip() for key in filterable.split(",") if key.strip()] if filterable else []
    settings = make_settings(analyzer, fields, passages, keys)
    source = open_source(corpus, id_field=id_field, on_bad_line=on_bad_line)
    if force or not output.is_dir() or not generations(output):  # `create` refuses what is in the way
        opened = Index.create(
            output,
            analyzer=analyzer,
            fields=fields,
            passages=passages,
            filterable=keys,
            overwrite=force,
            threads=threads,
            listener=session.listener,
        )
    else:
        opened = Index.open(output, threads=threads, listener=session.listener)
    session.resumable = True
    with opened:
        _check_same(opened, settings, source)
        if opened.generation == 0 and opened.inspect()["unfinished_jobs"]:
            session.note(f"{output} was left unfinished: going on where it stopped")
        report = opened.add(source.documents(session.listener), fingerprint=source.fingerprint, total=source.total)
        report_added(session, opened, source, report)


def _check_same(opened: Index, settings: Settings, source: Source) -> None:
    """Check that an index that is there already is the one that this command would make.

    Raises:
        OutputExistsError: it has other settings, or holds other documents.
    """
    from tamis.files import canonical_json

    manifest = opened.manifest
    if manifest.settings != settings:
        raise OutputExistsError(
            f"{opened.path} holds an index with other settings ({manifest.settings}): choose another folder, or pass --force "
            "to replace it"
        )
    if manifest.generation == 0:
        return
    made_from = [canonical_json(made.get("fingerprint")) for made in manifest.sources]
    if manifest.generation != 1 or made_from != [canonical_json(source.fingerprint)]:
        raise OutputExistsError(
            f"{opened.path} holds an index already (generation {manifest.generation}) that is not just {source.corpus.name}: add "
            f"to it with  tamis add {opened.path} CORPUS , choose another folder, or pass --force to replace it"
        )
