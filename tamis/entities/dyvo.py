"""The ``dyvo`` family: word pieces and entities in one sparse part; the entities of a text are proposed by a linker.

    dyvo:MODEL?entities=VOCABULARY&linker=alias

Entities may be added to the vocabulary (`EntityVocabulary.add`) and to the model's table (`tamis.entities.table`) later: the
model keeps its fingerprint, the part can still be searched, and `tamis.Index.update_part` encodes what mentions them anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tamis.encoders.options import DyvoOptions
from tamis.encoders.registry import open_encoder
from tamis.entities.linking import LinkedEntities, open_linker
from tamis.entities.vocabulary import EntityVocabulary
from tamis.errors import UsageError
from tamis.families import Address, option, parse_options, scoped_address
from tamis.retrievers.models import QueryEncoder, find_part
from tamis.retrievers.sparse import SparseFamily, SparseOptions, SparseRetriever, SparseScorer


@dataclass(frozen=True)
class _DyvoOptions(SparseOptions, DyvoOptions):
    """Options of ``dyvo``."""

    entities: str | None = option(None, "folder of the vocabulary of entities; without it words only", scope="model")
    linker: str = option("alias", "who proposes entities: alias, bm25, dense:ID, genre:ID, given:FILE", scope="model")
    linked: int = option(20, "how many entities a text gets at most", scope="model", ge=1)
    query_linker: str | None = option(None, "who proposes those of queries, where it is somebody else")


class DyvoRetriever(SparseRetriever):
    """A `SparseRetriever` that calls entities by their titles.

    Args:
        vocabulary: of the entities, or None.
        given: of `SparseRetriever`.
    """

    def __init__(self, vocabulary: EntityVocabulary | None, *given: Any) -> None:
        super().__init__(*given)
        self._vocabulary = vocabulary

    def _name(self, dimension: int) -> str:
        encoder: Any = self._encoder
        model = encoder.encoder
        if dimension < model.words:
            return super()._name(dimension)
        name = model.entities.ids[dimension - model.words]  # a part that is not brought up yet knows fewer names
        number = -1 if self._vocabulary is None else int(self._vocabulary.find([name])[0])
        title = name if self._vocabulary is None or number < 0 else self._vocabulary.title(number)
        return f"entity:{name}" if title == name else f"entity:{name} ({title})"


class Dyvo(SparseFamily):
    """The ``dyvo`` family."""

    summary: ClassVar[str] = (
        "DyVo: word pieces and entities, weighted by a masked language model and a table of entities"
    )
    Options: ClassVar[type[Any]] = _DyvoOptions

    @classmethod
    def encoder(cls, address: Address) -> Any:
        """Open the encoder with its linkers.

        Raises:
            UsageError: a linker of queries without a vocabulary.
        """
        options = parse_options(cls.Options, address.options, of="dyvo")
        encoder = open_encoder(address)
        vocabulary = _vocabulary(options)
        if vocabulary is not None:
            documents = LinkedEntities(vocabulary, open_linker(options.linker, vocabulary), options.linked)
            queries = documents
            if options.query_linker is not None:
                queries = LinkedEntities(vocabulary, open_linker(options.query_linker, vocabulary), options.linked)
            encoder.link(documents, queries)
        elif options.query_linker is not None:
            raise UsageError(f"{address}: query_linker needs a vocabulary: entities=FOLDER")
        encoder.identity = replace(encoder.identity, address=str(scoped_address(address, cls.Options, "model")))
        return encoder

    @classmethod
    def open(cls, source: Any, address: Address, options: Any) -> SparseRetriever | SparseScorer:
        """Open the model over the part that it encoded, or over the bare documents."""
        part = find_part(source, address, options, "sparse")
        if part is None:
            return super().open(source, address, options)
        encoder = QueryEncoder(lambda: cls.encoder(address), part.entry)
        return DyvoRetriever(_vocabulary(options), part, encoder, options)


def _vocabulary(options: Any) -> EntityVocabulary | None:
    return None if options.entities is None else EntityVocabulary(options.entities)
