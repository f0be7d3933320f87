"""`tamis add`: more documents, or newer versions of documents, into an index."""

from __future__ import annotations

from tamis.cli.options import CorpusArgument, IdFieldOption, IndexArgument, OnBadLineOption, ThreadsOption
from tamis.cli.session import Session


def add(
    session: Session,
    index: IndexArgument,
    corpus: CorpusArgument,
    id_field: IdFieldOption = None,
    on_bad_line: OnBadLineOption = "error",
    threads: ThreadsOption = None,
) -> None:
    """Add documents to an index; those whose id it holds are replaced.

    The same command, run again after an interrupt, does only what is missing.

    Example: tamis add my-index more.jsonl
    """
    from tamis.cli.corpora import open_source, report_added
    from tamis.engine import Index

    with Index.open(index, threads=threads, listener=session.listener) as opened:
        source = open_source(corpus, id_field=id_field, on_bad_line=on_bad_line)
        session.resumable = True
        report = opened.add(source.documents(session.listener), fingerprint=source.fingerprint, total=source.total)
        report_added(session, opened, source, report)
