"""Documents in TREC's SGML: ``<DOC> <DOCNO>id</DOCNO> … </DOC>``, many to a file."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.data.document import Document
from tamis.data.sources import decode_lenient, id_problem, lines

if TYPE_CHECKING:
    from tamis.data.corpus import Reject

_EDGE = re.compile(rb"<(/?)DOC(?:\s[^>]*)?>", re.IGNORECASE)
_DOCNO = re.compile(r"<DOCNO>(.*?)</DOCNO>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<(TITLE|HEADLINE|HL|HEAD)(?:\s[^>]*)?>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_MARKUP = re.compile(r"<!--.*?-->|<[/!?]?[A-Za-z][^<>]*>", re.DOTALL)
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
_TREC_ENTITIES = {"&hyph;": "-", "&blank;": " "}  # used on the TREC disks, unknown to HTML


def read_sgml(path: Path, reject: Reject) -> Iterator[Document]:
    """Yield the documents of a TREC SGML file.

    The title is what stands in TITLE, HEADLINE, HL or HEAD elements; the body is the text of all other elements but DOCNO.
    Tags are dropped, entities replaced. A document that is not UTF-8 is read as Latin-1. Text between documents is ignored.
    """
    for number, raw in _documents(path, reject):
        markup = decode_lenient(raw)
        docno = _DOCNO.search(markup)
        if docno is None:
            reject("the document that begins here has no <DOCNO>…</DOCNO>", number)
            continue
        doc_id = docno[1].strip()
        if problem := id_problem("document", doc_id):
            reject(problem, number)
            continue
        markup = markup[: docno.start()] + " " + markup[docno.end() :]
        title = " ".join(" ".join(plain_text(found[2]).split()) for found in _TITLE.finditer(markup))
        yield Document(doc_id, plain_text(_TITLE.sub(" ", markup)), title)


def plain_text(markup: str) -> str:
    """Return the text of marked-up text: tags become a space, entities their characters; outer white space is dropped."""
    return _ENTITY.sub(_character, _MARKUP.sub(" ", markup)).strip()


def _character(entity: re.Match[str]) -> str:
    return _TREC_ENTITIES.get(entity[0]) or html.unescape(entity[0])


def _documents(path: Path, reject: Reject) -> Iterator[tuple[int, bytes]]:
    """Yield (line of the opening tag, markup between the tags), holding one document in memory."""
    begun, parts = 0, list[bytes]()
    for number, line in lines(path):
        position = 0
        for edge in _EDGE.finditer(line):
            if edge[1]:
                if begun:
                    parts.append(line[position : edge.start()])
                    yield begun, b"".join(parts)
                else:
                    reject("</DOC> without a <DOC> before it", number)
                begun = 0
            else:
                if begun:
                    reject("the document that begins here is not closed by </DOC>", begun)
                begun = number
            parts = []
            position = edge.end()
        if begun:
            parts.append(line[position:])
    if begun:
        reject("the document that begins here is not closed by </DOC>", begun)
