"""Search results as a table: rank, score, id, and title above the snippet, with the query's terms lit up."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tamis.cli.drawing import clean, make_console
from tamis.cli.session import colours
from tamis.cli.snippets import Highlighter, Snippet
from tamis.errors import PrerequisiteError

if TYPE_CHECKING:
    from rich.text import Text

    from tamis.cli.session import Session
    from tamis.engine import Index, SearchHit


def write_hits(session: Session, index: Index, query: str, hits: Sequence[SearchHit]) -> None:
    """Write the hits of one query as a table, and as the envelope's results."""
    highlighter = make_highlighter(index, query)
    titles = [highlighter.whole(hit.title) for hit in hits]
    snippets = [highlighter.snippet(hit.text) for hit in hits]
    session.results = [
        {
            "rank": hit.rank,
            "score": hit.score,
            "id": hit.id,
            "title": hit.title,
            "snippet": snippet.text,
            "matches": [snippet.text[a:b] for a, b in snippet.matches],
            "metadata": dict(hit.metadata),
        }
        for hit, snippet in zip(hits, snippets, strict=True)
    ]
    if hits and not session.as_json:
        session.write(_table(hits, titles, snippets))


def make_highlighter(index: Index, query: str) -> Highlighter:
    """Return a highlighter by the index's own analyser, or by word beginnings where it has none."""
    from tamis.indexer.analysis import TextAnalyzer

    try:
        analyzer = TextAnalyzer(index.manifest.settings.analyzer if index.has_manifest else "english")
        analyzer.offsets("")  # starts Java where it must
    except PrerequisiteError:
        return Highlighter(query)
    return Highlighter(query, analyzer.offsets)


def _table(hits: Sequence[SearchHit], titles: Sequence[Snippet], snippets: Sequence[Snippet]) -> str:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False, header_style="bold")
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("id", overflow="fold", min_width=8, ratio=1)
    table.add_column("title and text", overflow="fold", ratio=3)
    in_colour = colours(sys.stdout)
    for hit, title, snippet in zip(hits, titles, snippets, strict=True):
        text = Text()
        if title.text:
            text.append_text(_styled(title, "bold", in_colour=in_colour)).append("\n")
        text.append_text(_styled(snippet, "", in_colour=in_colour))
        table.add_row(str(hit.rank), f"{hit.score:.4f}", Text(clean(hit.id)), text)
    out = io.StringIO()
    make_console(out).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n") + "\n"


def _styled(snippet: Snippet, style: str, *, in_colour: bool) -> Text:
    from rich.text import Text

    if not in_colour:  # marks that survive a pipe
        return Text(snippet.marked())
    text = Text(snippet.text, style=style)
    for start, end in snippet.matches:
        text.stylize("bold yellow", start, end)
    return text


def hits_of_ranking(ranking: Any) -> dict[str, list[dict[str, Any]]]:
    """Return a whole ranking as JSON values: query id → rank, score and id of every hit."""
    return {
        query_id: [
            {"rank": rank, "score": score, "id": doc_id}
            for rank, (doc_id, score) in enumerate(zip(ranking.space.ids(rows), scores.tolist(), strict=True), 1)
        ]
        for query_id, rows, scores in ranking.lists()
    }
