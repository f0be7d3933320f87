"""`tamis entities`: vocabularies of entities, and linking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamis.cli.options import ForceOption
from tamis.cli.session import Session

if TYPE_CHECKING:
    from tamis.entities.linking import Candidate, Mention
    from tamis.entities.vocabulary import EntityVocabulary

FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="JSON lines (id, title, aliases, description, type, popularity) or .tsv, plain or .gz.",
        show_default=False,
    ),
]
VocabularyArgument = Annotated[
    Path, typer.Argument(metavar="VOCABULARY", help="Folder of the vocabulary.", show_default=False)
]


def entities(session: Session) -> None:
    """Make vocabularies of entities, and link texts to them.

    Each command takes --json, --quiet, --no-progress and --debug as all others do.

    Example: tamis entities build entities.jsonl -o my-entities

    Example: tamis entities link my-entities "the moons of Mercury"
    """


def build(
    session: Session,
    file: FileArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="VOCABULARY", help="Folder of the vocabulary.")],
    force: ForceOption = False,
) -> None:
    """Make a vocabulary out of a file of entities.

    Example: tamis entities build entities.jsonl -o my-entities
    """
    from tamis.entities.vocabulary import EntityVocabulary, read_entities

    _tell(session, EntityVocabulary.build(read_entities(file), output, overwrite=force))
    session.note(f'next: tamis entities link {output} "your text"')


def add(session: Session, vocabulary: VocabularyArgument, file: FileArgument) -> None:
    """Add entities to a vocabulary; those that are there keep their numbers.

    Example: tamis entities add my-entities more.jsonl
    """
    from tamis.entities.vocabulary import EntityVocabulary, read_entities

    opened = EntityVocabulary(vocabulary)
    opened.verify()
    _tell(session, opened.add(read_entities(file)))


def embed(
    session: Session,
    vocabulary: VocabularyArgument,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a DyVo model.", show_default=False)],
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="SOURCE", help="tokens (of titles), a model such as dense:minilm, or FILE.safetensors."
        ),
    ] = "tokens",
) -> None:
    """Give a DyVo model embeddings of the entities that it lacks.

    Example: tamis entities embed my-entities my-dyvo
    """
    from tamis.entities.table import embed_entities
    from tamis.entities.vocabulary import EntityVocabulary

    session.metrics["embedded"] = embed_entities(EntityVocabulary(vocabulary), model, source)
    session.artifacts["model"] = str(model)
    session.note(f"{model}: {session.metrics['embedded']:,} entities embedded; a part takes them up by  tamis add-part")


def link(
    session: Session,
    vocabulary: VocabularyArgument,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="A text, perhaps with one [[mention]].", show_default=False)
    ] = None,
    topics: Annotated[
        str | None, typer.Option("--topics", metavar="TOPICS", help="Topics to link, in place of one text.")
    ] = None,
    linker: Annotated[
        str,
        typer.Option("--linker", metavar="LINKER", help="alias, bm25, dense:ID, genre:ID or given:FILE, with options."),
    ] = "alias",
    depth: Annotated[int, typer.Option("-k", metavar="N", min=1, help="Entities of each text.")] = 10,
) -> None:
    """Propose entities for a text as a table, or for topics as JSON lines of id, text and entities.

    The lines are what the linker given:FILE reads.

    Example: tamis entities link my-entities "the [[Mercury]] of the Romans" --linker bm25

    Example: tamis entities link my-entities --topics topics.tsv --linker dense:minilm
    """
    from tamis.entities.linking import Mention, open_linker
    from tamis.entities.vocabulary import EntityVocabulary
    from tamis.errors import UsageError

    if (text is None) == (topics is None):
        raise UsageError("give one text, or --topics TOPICS")
    opened = EntityVocabulary(vocabulary)
    chosen = open_linker(linker, opened)
    if topics is not None:
        from tamis.data.topics import read_topics

        queries = read_topics(topics)
        names, mentions = list(queries.ids), [Mention.parse(one) for one in queries.texts]
    else:
        names, mentions = ["1"], [Mention.parse(text or "")]
    found = [own[:depth] for own in chosen.link(mentions)]
    session.resolved["linker"] = chosen.fingerprint
    session.results = [
        {"id": name, "text": mention.text, "candidates": [_candidate(opened, mention, one) for one in own]}
        for name, mention, own in zip(names, mentions, found, strict=True)
    ]
    if topics is None:
        _draw(session, session.results[0]["candidates"])
        return
    import json

    for one in session.results:
        line = {"id": one["id"], "text": one["text"], "entities": [entity["entity"] for entity in one["candidates"]]}
        session.write(json.dumps(line, ensure_ascii=False) + "\n")


def _candidate(vocabulary: EntityVocabulary, mention: Mention, one: Candidate) -> dict[str, Any]:
    span = one.span
    return {
        "entity": vocabulary.id(one.entity),
        "title": vocabulary.title(one.entity),
        "score": one.score,
        "span": None if span is None else list(span),
        "mention": None if span is None else mention.text[span[0] : span[1]],
    }


def _draw(session: Session, candidates: list[dict[str, Any]]) -> None:
    from tamis.cli.drawing import clean, write_pairs

    def named(one: dict[str, Any]) -> str:
        other = "" if one["title"] == one["entity"] else f" [{one['entity']}]"
        return clean(f"{one['title']}{other}" + (f" ← {one['mention']}" if one["mention"] else ""))

    if not candidates:
        session.note("no entity is proposed")
        return
    write_pairs(session, [(f"{one['score']:.4f}", named(one)) for one in candidates])


def _tell(session: Session, vocabulary: EntityVocabulary) -> None:
    session.artifacts["vocabulary"] = str(vocabulary.folder)
    session.resolved["fingerprint"] = vocabulary.fingerprint
    session.metrics.update(entities=len(vocabulary), blocks=len(vocabulary.blocks))
    session.note(f"{vocabulary.folder}: {len(vocabulary):,} entities in {len(vocabulary.blocks)} block(s)")


SUBCOMMANDS = {"build": build, "add": add, "embed": embed, "link": link}
"""What `tamis.cli.app` makes commands of."""
