"""``given``: entities that somebody proposed for each text beforehand, such as a language model.

``given:FILE`` is JSON lines, plain or gzipped: ``{"text": …, "entities": [id or title, …]}``. DyVo's own files have an id in the
place of the text: ``given:FILE?topics=TOPICS`` finds the texts of queries by their ids. Entities that the vocabulary lacks are
passed over, and so is white space around a text; a text that the file lacks has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.data.jsonl import RecordProblem, parse_object
from tamis.data.sources import lines
from tamis.entities.linking import Candidate, Mention, best, linker_fingerprint
from tamis.entities.vocabulary import EntityVocabulary
from tamis.errors import BadRecordError, MissingResourceError
from tamis.families import Address, option, parse_options
from tamis.files import sha256_json

VERSION = 1


@dataclass(frozen=True)
class GivenOptions:
    """Options of ``given``."""

    topics: str | None = option(None, "topics whose ids the file names, where it names no texts", scope="model")


class GivenLinker:
    """A `tamis.entities.linking.Linker`; the first of a list has score 1, the second 1/2, and so on.

    Args:
        vocabulary: of the entities.
        proposed: ids or titles for each text.
    """

    def __init__(self, vocabulary: EntityVocabulary, proposed: Mapping[str, Sequence[str]]) -> None:
        names = {name for own in proposed.values() for name in own}
        known = dict(zip(sorted(names), vocabulary.find(sorted(names)).tolist(), strict=True))
        titles = {name for name, number in known.items() if number < 0}
        if titles:
            for block in vocabulary.blocks:
                for place in range(len(block)):
                    title = block.titles[place]
                    if title in titles and known[title] < 0:  # of several the first
                        known[title] = block.first + place
        self._proposed = {
            text.strip(): [known[name] for name in own if known[name] >= 0] for text, own in proposed.items()
        }
        self.fingerprint = linker_fingerprint(
            vocabulary, "given", VERSION, proposed=sha256_json({text: list(own) for text, own in proposed.items()})
        )

    def link(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        """See `Linker`."""
        found = [self._proposed.get(mention.text.strip(), []) for mention in mentions]
        return [best([Candidate(e, 1 / rank) for rank, e in enumerate(own, 1)], len(own)) for own in found]


def read_proposals(path: Path, texts: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Read a file of proposals.

    Args:
        path: the file.
        texts: of queries by id, where the file names ids; ids that it lacks are passed over.

    Raises:
        MissingResourceError: there is no such file.
        BadRecordError: a line is malformed.
    """
    if not path.is_file():
        raise MissingResourceError(f"{path} is not there: given:FILE needs JSON lines of texts and entities")
    found = dict[str, list[str]]()
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            record = parse_object(line)
            entities = record["entities"]
            if not isinstance(entities, list):
                raise TypeError("entities are a list")
            text = record.get("text") if texts is None else texts.get(str(record["id"]))
            if text is None and texts is None:
                raise KeyError("text")
        except (RecordProblem, ValueError, TypeError, KeyError) as error:
            wanted = '{"text": …, "entities": […]}' if texts is None else '{"id": …, "entities": […]}'
            raise BadRecordError(f"not a line {wanted} ({error})", path, number) from error
        if text is not None:
            found[str(text)] = list(map(str, entities))
    return found


def load(address: Address, vocabulary: EntityVocabulary) -> Any:
    """Read the file and make the linker; errors as of `read_proposals` and of the topics."""
    options = parse_options(GivenOptions, address.options, of="linker given")
    texts = None
    if options.topics is not None:
        from tamis.data.topics import read_topics

        queries = read_topics(options.topics)
        texts = dict(zip(queries.ids, queries.texts, strict=True))
    return GivenLinker(vocabulary, read_proposals(Path(address.id), texts))
