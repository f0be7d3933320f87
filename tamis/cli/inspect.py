"""`tamis inspect`: what an index is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tamis.cli.options import IndexArgument
from tamis.cli.session import Session

if TYPE_CHECKING:
    from tamis.engine import Index


def inspect(session: Session, index: IndexArgument) -> None:
    """Show what an index holds and how it was made.

    Example: tamis inspect my-index
    """
    from tamis.cli.drawing import write_pairs
    from tamis.engine import Index
    from tamis.indexer.foreign import is_lucene_folder

    with Index.open(index, listener=session.listener) as opened:
        if is_lucene_folder(index):
            session.results = _foreign(opened)
            write_pairs(session, [(name, str(value)) for name, value in session.results.items()])
            return
        described = opened.inspect()
    session.results = described
    session.resolved.update(index=described["index"], generation=described["generation"])
    write_pairs(session, _pairs(described))


def _foreign(opened: Index) -> dict[str, Any]:
    reader = opened.part("lucene").reader
    return {
        "path": str(opened.path),
        "kind": "bare Lucene index, read-only",
        "documents": reader.num_docs,
        "fields": ", ".join(reader.fields),
    }


def _pairs(d: dict[str, Any]) -> list[tuple[str, str]]:
    from tamis.cli.drawing import clean, format_bytes

    settings = d["settings"]
    fields = ", ".join(name if weight == 1 else f"{name}^{weight:g}" for name, weight in settings["fields"].items())
    generations = ", ".join(map(str, d["generations_on_disk"]))
    sources = []
    for source in d["sources"]:
        name = clean(str(source.get("fingerprint", {}).get("name", "documents from a program")))
        sources.append(f"{name}: {source['documents']:,} documents (generation {source['generation']})")
    sizes = d["bytes"]
    parts = [f"{room} {format_bytes(size)}" for room, size in sorted(sizes.items()) if room != "total"]
    pairs = [
        ("index", f"{d['path']} ({d['index']})"),
        ("generation", f"{d['generation']}, made {d['created']} by Tamis {d['tamis']}; on disk: {generations}"),
        ("documents", f"{d['documents']:,} ({d['empty_documents']:,} empty) in {d['segments']} segment(s)"),
        ("rows", f"{d['live_rows']:,} live, {d['deleted_rows']:,} deleted"),
        ("analyzer", settings["analyzer"]),
        ("fields", fields),
        ("passages", settings["passages"] or "none: a document is one row"),
        ("filterable", ", ".join(settings["filterable"]) or "nothing"),
        ("parts", "\n".join(f"{name}: {part.get('kind', name)}" for name, part in d["parts"].items()) or "none"),
        ("size", f"{format_bytes(sizes['total'])}" + (f" ({', '.join(parts)})" if parts else "")),
        ("sources", "\n".join(sources) or "none"),
    ]
    if pruned := d["pruned"]:
        kept_out = f"{pruned['rows_count']:,} rows; {pruned['documents_count']:,} documents are kept out"
        pairs.insert(4, ("pruned", kept_out))
    if d["unfinished_jobs"]:
        pairs.append(("unfinished", "a job was interrupted: run the same command again, or any other write clears it"))
    return pairs
