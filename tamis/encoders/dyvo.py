"""``dyvo``: word pieces and entities in one sparse space (DyVo; Nguyen et al., EMNLP 2024).

The words of a document weigh max over tokens of log(1 + relu(logit)), by a masked language model; those of a query log(1 +
relu(w · h + b)), summed where a word piece stands several times, without expansion. [CLS] and [SEP] have no part in either. The
words of a query may instead be its keywords, chosen by a classifier over a transformer of their own (`tamis.encoders.keywords`).

The entities are the candidates that somebody proposes for a text: a linker, a retriever or a language model, as a function
(`Candidates`). A candidate's embedding E, of a frozen table and projected where its width is not the transformer's, meets the
last state h of every token:

    paper      λ · max over tokens of log(1 + relu(E · h))
    released   max over tokens of log(1 + relu(λ · E · h)), as the authors' code has it

with a trained λ for each side, 0.05 at first. The released code has more beside the paper, each an entry of the recipe: a bias b
of entities (λ · E · h + b, or E · h + b in the paper's form), other functions than log(1 + relu(x)) (``activation``: log(1 +
softplus(x)), the sigmoid, or none, of which an index keeps what is above 0), and [CLS] alone in place of the maximum
(``states=cls``). All tokens of the text are in that maximum, [CLS] and [SEP] too (``special_tokens=masked`` leaves them out). The
released code takes padding into it as well, so that its weights depend on what runs together; that is not done here.

Entity i of the table is dimension `words` + i. Entities may be added to a model, and to an index, later: no other weight changes.

A checkpoint is a folder:

    tamis.json                               family, and the recipe
    config.json, tokenizer.json              of the transformer
    query.json                               configuration of the query's transformer, where it is another
    document.safetensors, query.safetensors  weights by the released code's names: model.*, ent_weight, and where they are needed
                                             linear.* (words without expansion), entity_proj.*, entity_bias, net.* (keywords);
                                             what else a released file has (tok_weight, scale) is not used, as it is not there
    entities/                                see `tamis.encoders.sparse_entities`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage
from tamis.encoders.batching import Inputs, Numerics
from tamis.encoders.checkpoints import fill, find_checkpoint, load_transformer
from tamis.encoders.keywords import chooser, keyword_net
from tamis.encoders.options import SPECIAL_TOKENS, VARIANTS, DyvoOptions
from tamis.encoders.sparse_card import read_card, write_card, write_weights
from tamis.encoders.sparse_entities import FOLDER, Entities
from tamis.encoders.sparse_rows import Pruning
from tamis.encoders.sparse_transformer import (
    LOGITS,
    Entries,
    SparseTransformer,
    pool_logits,
    pooled_tokens,
    saturate,
    special_ids,
    token_names,
)
from tamis.encoders.text import TextFormat, Tokenizer, length_limit
from tamis.encoders.transformer import make_identity
from tamis.errors import DataError, ModelError, UsageError
from tamis.families import Address

VERSION = 1
HEADS = ("mlm", "mlp", "keywords")
ACTIVATIONS = ("relu", "softplus", "sigmoid", "none")
STATES = ("tokens", "cls")
_LATER = ("activation", "states", "entity_bias", "keywords", "stop")
SCALE = 0.05
QUERY_CONFIG = "query.json"
SIDES = ("document", "query")


class Candidates(Protocol):
    """Proposes entities for texts.

    Attributes:
        fingerprint: says what it is: equal ones propose the same.
    """

    fingerprint: str

    def __call__(self, texts: Sequence[str]) -> Sequence[Sequence[str]]:
        """Return the ids of entities for each text; those that the table lacks are passed over."""


@dataclass(frozen=True)
class Recipe:
    """What a DyVo model is besides its weights.

    Attributes:
        document: how a document's words are weighed: ``mlm``, or ``mlp`` without expansion.
        query: the same of a query; or ``keywords``.
        variant: ``paper`` or ``released``: where the scale of entities stands.
        special_tokens: ``pooled`` or ``masked``, in the maximum of entities.
        max_length: tokens that are read of a document.
        query_length: tokens that are read of a query.
        activation: of entities, one of `ACTIVATIONS`.
        states: ``tokens`` or ``cls``: what entities meet.
        entity_bias: whether entities have a trained bias.
        keywords: how many keywords a query has.
        stop: word pieces that are no keywords.

    Raises:
        UsageError: a value is none of these.
    """

    document: str = "mlm"
    query: str = "mlp"
    variant: str = "paper"
    special_tokens: str = "pooled"
    max_length: int | None = None
    query_length: int | None = None
    activation: str = "relu"
    states: str = "tokens"
    entity_bias: bool = False
    keywords: int = 32
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.keywords < 1:
            raise UsageError(f"keywords={self.keywords}: at least 1")
        for name, value, known in (
            ("document", self.document, HEADS[:2]),
            ("activation", self.activation, ACTIVATIONS),
            ("states", self.states, STATES),
            ("query", self.query, HEADS),
            ("variant", self.variant, VARIANTS),
            ("special_tokens", self.special_tokens, SPECIAL_TOKENS),
        ):
            if value not in known:
                raise UsageError(f"{name}={value!r}: one of {', '.join(known)}")


def entity_weights(
    states: torch.Tensor,
    embeddings: torch.Tensor,
    scale: torch.Tensor,
    kept: torch.Tensor | None,
    variant: str,
    activation: str = "relu",
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the weights of candidate entities.

    Args:
        states: [texts, tokens, width].
        embeddings: [texts, candidates, width].
        scale: the trained factor.
        kept: bool [texts, tokens], which tokens are pooled; None: all.
        variant: ``paper`` or ``released``.
        activation: one of `ACTIVATIONS`.
        bias: that is added before it; None: none.

    Returns:
        float32 [texts, candidates], not below 0.
    """
    logits = (states @ embeddings.transpose(1, 2)).float()
    logits = logits * scale if variant == "released" else logits
    logits = logits if bias is None else logits + bias
    if activation == "relu":
        weights = pool_logits(logits, kept, "max")
    else:  # none of them ever falls: the largest logit has the largest weight
        if kept is not None:
            logits = logits.masked_fill(~kept.unsqueeze(-1), -torch.inf)
        weights = _ACTIVATE[activation](logits.amax(1))
    return weights if variant == "released" else scale * weights


_ACTIVATE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softplus": lambda values: nn.functional.softplus(values).log1p(),
    "sigmoid": torch.sigmoid,
    "none": torch.relu,
}


class DyvoSide(nn.Module):
    """The encoder of documents or of queries; parameters are named as the released code names them.

    Args:
        model: a masked language model (``mlm``) or a bare transformer (``mlp``, ``keywords``).
        head: which of them.
        width: of the entities' embeddings.
        bias: whether entities have a bias.
    """

    def __init__(self, model: nn.Module, head: str, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.model, self.head = model, head
        hidden = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.ent_weight = nn.Parameter(torch.tensor(SCALE))
        self.entity_bias = nn.Parameter(torch.tensor(0.0)) if bias else None
        self.linear = nn.Linear(hidden, 1) if head == "mlp" else None
        self.net = keyword_net(hidden) if head == "keywords" else None
        self.entity_proj = nn.Linear(width, hidden) if width != hidden else None

    @property
    def words(self) -> int:
        """How many word pieces there are."""
        config: Any = self.model.config
        return int(config.vocab_size)

    def states(self, ids: torch.Tensor, mask: torch.Tensor | None, types: torch.Tensor | None) -> tuple[Any, Any]:
        """Return the last states, and the logits of a masked language model."""
        given = {} if types is None else {"token_type_ids": types}
        if self.head != "mlm":
            return self.model(input_ids=ids, attention_mask=mask, **given).last_hidden_state, None
        found = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True, **given)
        return found.hidden_states[-1], found.logits

    def keyword_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Return float32 [texts, tokens], whether each token is a keyword, as a binary cross entropy is trained to say."""
        assert self.net is not None  # noqa: S101 - the head is keywords
        logits: torch.Tensor = self.net(states).squeeze(-1).float()
        return logits

    def word_weights(
        self, ids: torch.Tensor, states: torch.Tensor, logits: torch.Tensor | None, kept: torch.Tensor | None, how: str
    ) -> torch.Tensor:
        """Return float32 [texts, words]; word pieces that stand several times are pooled by `how`, ``sum`` or ``amax``."""
        if logits is not None:
            return pool_logits(logits, kept, "max")
        assert self.linear is not None  # noqa: S101 - without logits, and no keywords, there is a linear layer
        weights = saturate(self.linear(states).squeeze(-1))
        weights = weights if kept is None else weights * kept
        found = torch.zeros(len(ids), self.words, device=ids.device)
        return found.scatter_reduce(1, ids, weights, how)


class Dyvo(SparseTransformer):
    """A `tamis.encoders.base.SparseEncoder`; without candidates (`link`) it weighs words only.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        document: encodes documents.
        query: encodes queries.
        tokenizer: of both.
        entities: the table.
        recipe: of the model.
        pruning: of documents and of queries.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        document: DyvoSide,
        query: DyvoSide,
        tokenizer: Tokenizer,
        entities: Entities,
        recipe: Recipe,
        pruning: tuple[Pruning, Pruning] = (Pruning(), Pruning()),
    ) -> None:
        if document.words != query.words and not (query.head == "keywords" and query.words > document.words):
            raise ModelError(f"{identity.address}: {document.words} word pieces of documents, {query.words} of queries")
        config: Any = document.model.config
        formats = (
            TextFormat(tokenizer, length_limit(config, None, recipe.max_length)),
            TextFormat(tokenizer, length_limit(config, None, recipe.query_length)),
        )
        super().__init__(identity, numerics, document.words + len(entities), formats, pruning)
        self.document, self.query, self.words = document, query, document.words
        self.entities, self.recipe = entities, recipe
        self._candidates: dict[str, Candidates | None] = dict.fromkeys(SIDES)
        self._chooser = chooser(tokenizer, recipe.keywords, recipe.stop) if query.head == "keywords" else None
        self.register_buffer("special", torch.tensor(special_ids(tokenizer)), persistent=False)

    def link(self, documents: Candidates | None, queries: Candidates | None) -> None:
        """Say who proposes entities; that of documents is part of the model's identity, as their vectors depend on it."""
        self._candidates = {"document": documents, "query": queries}
        name = None if documents is None else documents.fingerprint
        self.identity = replace(self.identity, settings={**self.identity.settings, "candidates": name})

    def add_entities(self, ids: Sequence[str], embeddings: torch.Tensor) -> None:
        """Add entities; vectors of before keep their meaning, and the model its identity.

        Args:
            ids: of the new entities.
            embeddings: [entities, width].

        Raises:
            DataError: they do not fit those that are there.
        """
        self.entities.add(ids, embeddings)
        self.dimensions = self.words + len(self.entities)

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        types: torch.Tensor | None = None,
        *,
        side: str = "document",
        candidates: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the weights of a padded batch, differentiably: of all words, then of each text's candidates.

        Args:
            ids: int64 [texts, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            types: int64 token types; None: all 0.
            side: ``query`` or ``document``.
            candidates: int64 [texts, candidates], rows of the table, below 0 for none; None: no candidates.

        Returns:
            float32 [texts, words + candidates]; what a missing candidate weighs is 0. See `inner_products`.
        """
        encoder = self.query if side == "query" else self.document
        special: Any = self.special
        states, logits = encoder.states(ids, mask, types)
        kept = pooled_tokens(ids, mask, special)
        if side == "query" and self._chooser is not None:
            words = self._chooser.weights(ids, encoder.keyword_logits(states), kept, self.words)
        else:
            words = encoder.word_weights(ids, states, logits, kept, "sum" if side == "query" else "amax")
        if candidates is None or not candidates.shape[1]:
            return words
        embeddings = self.entities.embeddings(candidates.cpu()).to(states.device)
        if encoder.entity_proj is not None:
            embeddings = encoder.entity_proj(embeddings)
        recipe = self.recipe
        if recipe.states == "cls":
            states, kept = states[:, :1], None
        else:
            kept = pooled_tokens(ids, mask, special if recipe.special_tokens == "masked" else None)
        scale, bias = encoder.ent_weight, encoder.entity_bias
        weights = entity_weights(states, embeddings, scale, kept, recipe.variant, recipe.activation, bias)
        return torch.cat([words, weights * (candidates >= 0).to(states.device)], 1)

    def entries(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        types: torch.Tensor | None,
        *,
        side: str,
        places: NDArray[np.int64],
        candidates: Sequence[Sequence[int]] | None = None,
    ) -> Entries:
        """Return words and entities; see `SparseTransformer.entries`.

        Args:
            ids: see there.
            mask: see there.
            types: see there.
            side: see there.
            places: see there.
            candidates: rows of the table, of every text that is encoded.
        """
        own = [] if candidates is None else [candidates[place] for place in places.tolist()]
        rows = torch.full((len(ids), max(map(len, own), default=0)), -1)
        for row, found in zip(rows, own, strict=False):
            row[: len(found)] = torch.tensor(found)
        weights = self(ids, mask, types, side=side, candidates=rows)
        owners, columns = (weights != 0).nonzero(as_tuple=True)
        values = weights[owners, columns]
        dimensions, entity = columns.clone(), columns >= self.words
        dimensions[entity] = self.words + rows.to(ids.device)[owners[entity], columns[entity] - self.words]
        return Entries(owners, dimensions, values)

    def document_inputs(self, passages: Sequence[Passage]) -> Inputs:
        """Return documents as the model reads them; marks that only a query's vocabulary has are unknown words there."""
        inputs = super().document_inputs(passages)
        if self._chooser is None or self.query.words == self.words:
            return inputs
        unknown = self.formats[0].tokenizer.id_of("[UNK]")
        return replace(inputs, ids=[[i if i < self.words else unknown for i in own] for own in inputs.ids])

    def entries_of(self, side: str, texts: Sequence[str]) -> Callable[..., Entries]:
        """Return what finds words and entities of these texts.

        Raises:
            DataError: there are not candidates for each.
        """
        return partial(self.entries, candidates=self._rows(side, texts))

    def _rows(self, side: str, texts: Sequence[str]) -> list[list[int]] | None:
        propose = self._candidates[side]
        if propose is None:
            return None
        found = propose(texts)
        if len(found) != len(texts):
            raise DataError(f"candidates for {len(found)} texts where there are {len(texts)}")
        return [self.entities.rows(names) for names in found]

    def inner_products(
        self,
        queries: torch.Tensor,
        query_candidates: torch.Tensor,
        documents: torch.Tensor,
        document_candidates: torch.Tensor,
    ) -> torch.Tensor:
        """Return the relevance of every document to every query, differentiably.

        Args:
            queries: [queries, words + candidates], of `forward`.
            query_candidates: as they were given to it.
            documents: [documents, words + candidates].
            document_candidates: as they were given for them.

        Returns:
            float32 [queries, documents].
        """
        same = query_candidates[:, None, :, None] == document_candidates[None, :, None, :]
        same &= (query_candidates >= 0)[:, None, :, None]
        entities = torch.einsum(
            "qi,dj,qdij->qd", queries[:, self.words :], documents[:, self.words :], same.to(queries.dtype)
        )
        return queries[:, : self.words] @ documents[:, : self.words].T + entities

    @property
    def budget(self) -> int:
        """Tokens of a batch: there is a logit for each word, but never for each entity."""
        return max(1, min(self.numerics.budget, LOGITS // self.words))

    def names(self) -> Sequence[str]:
        """The word pieces, then the entities as ``entity:ID``."""
        return [*token_names(self.formats[0].tokenizer, self.words), *(f"entity:{name}" for name in self.entities.ids)]

    def facts(self) -> dict[str, int]:
        """Return where the dimensions of entities begin, and how many there are, for the manifest of an index."""
        return {"words": self.words, "entities": len(self.entities)}

    def mentions(self, passages: Sequence[Passage], since: int) -> NDArray[np.bool_]:
        """Say which documents an entity of row `since` or later is proposed for: those that older vectors do not know.

        Returns:
            bool [passages].
        """
        rows = self._rows("document", [passage.joined for passage in passages])
        if rows is None:
            return np.zeros(len(passages), np.bool_)
        return np.array([any(row >= since for row in own) for own in rows], np.bool_)

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `load` reads; see the module."""
        folder.mkdir(parents=True, exist_ok=True)
        config: Any = self.document.model.config
        config.save_pretrained(folder)
        other: Any = self.query.model.config
        if other.to_diff_dict() != config.to_diff_dict():
            other.to_json_file(folder / QUERY_CONFIG)
        self.formats[0].tokenizer.raw.save(str(folder / "tokenizer.json"))
        for side in SIDES:
            write_weights(getattr(self, side), folder / f"{side}.safetensors")
        self.entities.save(folder)
        write_card(folder, "dyvo", self.recipe)


def create(
    folder: Path, recipe: Recipe, entities: Entities, *, query: Path | None = None, seed: int = 0, device: str = "auto"
) -> Dyvo:
    """Return an untrained DyVo model over a masked language model.

    Args:
        folder: of the masked language model's checkpoint.
        recipe: of the model.
        entities: the table.
        query: of the query's transformer, where it is another (ELECTRA's, for keywords); it has the same word pieces, to which
            some may have been added, and its tokenizer is that of both.
        seed: of the layers that the checkpoint has not.
        device: where it is.

    Raises:
        ModelError: the checkpoint cannot be used.
    """
    numerics = Numerics.of(device, "float32")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        document, asked = (
            DyvoSide(
                load_transformer(home, unused=(), auto="AutoModelForMaskedLM") if head == "mlm" else _bare(home),
                head,
                entities.width,
                bias=recipe.entity_bias,
            )
            for home, head in ((folder, recipe.document), (query or folder, recipe.query))
        )
    identity, tokenizer = ModelIdentity(f"dyvo:{folder}"), Tokenizer(query or folder)
    return Dyvo(identity, numerics, document, asked, tokenizer, entities, recipe).to(numerics.device).eval()


def load(address: Address, options: DyvoOptions) -> Dyvo:
    """Load a DyVo checkpoint.

    Entities that were added to it later are no part of its identity: a part that knew fewer can still be searched.

    Raises:
        MissingResourceError: there is none.
        ModelError: it cannot be used, or lacks weights.
    """
    folder = find_checkpoint(address.id, address.revision)
    recipe = read_card(folder, "dyvo", Recipe)
    given = {name: getattr(options, name) for name in ("variant", "max_length", "query_length", "special_tokens")}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    numerics, entities = Numerics.of(options.device, options.dtype), Entities.load(folder)
    document, query = (_read_side(folder, side, recipe, entities.width) for side in SIDES)
    identity = make_identity(address, {"model": folder}, options, VERSION, recipe=_stated(recipe), candidates=None)
    later = {
        name for name in identity.files if name.startswith(f"{FOLDER}/") and not name.startswith(f"{FOLDER}/0000.")
    }
    identity = replace(identity, files={name: value for name, value in identity.files.items() if name not in later})
    encoder = Dyvo(identity, numerics, document, query, Tokenizer(folder), entities, recipe, Pruning.of(options))
    return encoder.to(numerics.device).eval()


def _stated(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe for an identity: what came to recipes later counts where it is not as it always was."""
    usual = Recipe()
    values = asdict(recipe)
    return {name: value for name, value in values.items() if name not in _LATER or value != getattr(usual, name)}


def _bare(folder: Path) -> nn.Module:
    model = load_transformer(folder)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # type: ignore[assignment]
    return model


def _read_side(folder: Path, side: str, recipe: Recipe, width: int) -> DyvoSide:
    """Read the encoder of one side."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

    path, head = folder / f"{side}.safetensors", str(getattr(recipe, side))
    own = folder / QUERY_CONFIG
    try:
        config = AutoConfig.from_pretrained(own if side == "query" and own.is_file() else folder)
        kind: Any = AutoModelForMaskedLM if head == "mlm" else AutoModel
        model = kind.from_config(config)
        state = load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    found = DyvoSide(model, head, width, bias=recipe.entity_bias)
    places = dict[int, list[str]]()
    for name, value in found.state_dict().items():
        places.setdefault(value.data_ptr(), []).append(name)
    for names in places.values():  # what is tied need stand in the file only once
        held = next((state[name] for name in names if name in state), None)
        if held is not None:
            state |= {name: held for name in names if name not in state}
    fill(found, state, path)
    return found
