"""Documents as MS MARCO ships them: ``id TAB text`` (passages) or ``id TAB url TAB title TAB body`` (documents)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.data.document import Document
from tamis.data.sources import id_problem, lines, utf8_problem

if TYPE_CHECKING:
    from tamis.data.corpus import Reject

_PASSAGE, _DOCUMENT = 2, 4


def read_tsv(path: Path, reject: Reject) -> Iterator[Document]:
    """Yield the documents of an MS MARCO TSV file; its first well-formed line decides between the two forms.

    There is no quoting: a quotation mark is text. Blank lines are passed over.
    """
    width = 0
    for number, line in lines(path):
        if line.isspace():
            continue
        try:
            columns = line.decode().rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            reject(utf8_problem(error), number)
            continue
        if len(columns) != width:
            if width or len(columns) not in (_PASSAGE, _DOCUMENT):
                expected = f"{width}, as in the lines before" if width else "2 (id, text) or 4 (id, url, title, body)"
                reject(f"{len(columns)} tab-separated columns, expected {expected}", number)
                continue
            width = len(columns)
        if problem := id_problem("document", columns[0]):
            reject(problem, number)
        elif width == _PASSAGE:
            yield Document(columns[0], columns[1])
        else:
            yield Document(columns[0], columns[3], columns[2], {"url": columns[1]})
