"""``cedr``: BERT, and a ranking model of older kind over the similarities of its states in all layers.

MacAvaney et al., "CEDR: Contextualized Embeddings for Document Ranking", SIGIR 2019, as its released code does it. A query is 20
word pieces, padded, a document 800. Documents are cut into chunks of one length, each read with the whole query; the document's
states are put together again, the query's are those of the first chunk, and the state of ``[CLS]`` is the mean over chunks.

Two things of the released code depend on what is scored together, and are otherwise here: a document has as many chunks as its
own length needs, and its padding counts for nothing. ``padding=released`` counts padding as there, up to the full length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Numerics, batches_of, require_finite
from tamis.encoders.checkpoints import fill, find_checkpoint, read_config, read_state
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError, UsageError
from tamis.families import Address
from tamis.rerankers.base import PairScores
from tamis.rerankers.cedr_heads import QUERY_LENGTH, Head, Heads, chunks_of
from tamis.rerankers.options import CedrOptions
from tamis.stages import Evidence

VERSION = 1
MOST_TOKENS = 512
AROUND = QUERY_LENGTH + 3
"""What a chunk shares its input with: the query, and three special tokens."""


@dataclass(frozen=True)
class _Special:
    cls: int
    sep: int


class Cedr(nn.Module):
    """A `tamis.rerankers.base.PairScorer`, and the network; weights go by the released names.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        bert: transformers' `BertModel`.
        head: the ranking model.
        tokenizer: the model's.
        options: how long documents are, and whether padding counts.

    Attributes:
        tokens: how many tokens the model has read so far, padding not counted.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        numerics: Numerics,
        bert: nn.Module,
        head: Head,
        tokenizer: Tokenizer,
        options: CedrOptions,
    ) -> None:
        super().__init__()
        self.identity, self.numerics, self.tokenizer, self.options = identity, numerics, tokenizer, options
        self.bert, self.head = bert, head
        head.padded = options.padding == "released"
        self.tokens = 0
        self._special = _Special(tokenizer.id_of("[CLS]"), tokenizer.id_of("[SEP]"))
        self.register_state_dict_post_hook(_released_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_own_names)  # type: ignore[no-untyped-call]
        self._chunk = min(MOST_TOKENS, int(bert.config.max_position_embeddings)) - AROUND  # type: ignore[union-attr, arg-type]

    def forward(self, queries: Sequence[Sequence[int]], documents: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return scores, differentiably: float32 [pairs].

        Args:
            queries: word pieces of each pair's query, `QUERY_LENGTH` at most.
            documents: word pieces of each pair's document.
        """
        with_bert = self._read(queries, documents)
        with torch.autocast(with_bert[0].device.type, enabled=False):
            scores: torch.Tensor = self.head(*with_bert)
        return scores

    def explain_pair(self, query: str, passage: Passage) -> list[Evidence]:
        """Return what the kernels of KNRM add; see `tamis.rerankers.base.PairExplainer`."""
        asked, text = self._pieces([query])[0], self._pieces([passage.joined])[0]
        with torch.inference_mode(), self.numerics.running():
            given = self._read([asked[:QUERY_LENGTH]], [text[: self.options.doc_length]])
            return [Evidence(name, value) for name, value in self.head.parts(*given).items()]

    def _read(
        self, queries: Sequence[Sequence[int]], documents: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what a head is given, see `Head.forward`; arguments as of `forward`."""
        ids, types, mask, owners = self._rows(queries, documents)
        found = self.bert(ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
        layers = torch.stack([state.float() for state in found.hidden_states], 1)  # [chunks, layers, tokens, width]
        counts = torch.bincount(owners, minlength=len(documents)).to(layers.dtype)
        first = torch.zeros(len(documents), layers.shape[-1], device=layers.device)
        first = first.index_add(0, owners, layers[:, -1, 0]) / counts[:, None]
        starts = torch.cat([owners.new_zeros(1), counts.long().cumsum(0)])[:-1]
        query = layers[starts, :, 1 : QUERY_LENGTH + 1]
        length = self.options.doc_length if self.head.padded else max(1, *map(len, documents))
        document, seen = self._document(layers, documents, starts.tolist(), length)
        asked = mask[starts, 1 : QUERY_LENGTH + 1].bool()
        similar = _unit(query) @ _unit(document).transpose(-1, -2)
        similar = similar * asked[:, None, :, None] * seen[:, None, None]
        return similar.float(), asked, seen, first.float()

    def _rows(
        self, queries: Sequence[Sequence[int]], documents: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return ids, token types and mask of all chunks, int64 [chunks, tokens], and the pair of each chunk."""
        cut = [self._cut(document) for document in documents]
        width = AROUND + max(size for _, size in cut)
        ids = np.full((sum(count for count, _ in cut), width), 0, np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        begin, owners = QUERY_LENGTH + 2, list[int]()
        for i, (query, document, (count, size)) in enumerate(zip(queries, documents, cut, strict=True)):
            for first in range(0, count * size, size) if size else [0]:
                row, part = len(owners), document[first : first + size]
                ids[row, 0], ids[row, begin - 1], ids[row, begin + size] = self._special.cls, *(self._special.sep,) * 2
                ids[row, 1 : 1 + len(query)] = query
                ids[row, begin : begin + len(part)] = part
                mask[row, : 1 + len(query)] = mask[row, begin - 1 : begin + len(part)] = mask[row, begin + size] = 1
                types[row, begin : begin + size + 1] = 1
                owners.append(i)
        device = self.numerics.device
        ids_, types_, mask_ = (torch.from_numpy(table).to(device) for table in (ids, types, mask))
        return ids_, types_, mask_, torch.tensor(owners, device=device)

    def _cut(self, document: Sequence[int]) -> tuple[int, int]:
        """Return how many chunks a document has, and their length; a last one that is shorter has a gap before its end."""
        return chunks_of(self.options.doc_length if self.head.padded else len(document), self._chunk)

    def _document(
        self, layers: torch.Tensor, documents: Sequence[Sequence[int]], starts: Sequence[int], length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states of whole documents, [pairs, layers, length, width], and where there are any, [pairs, length]."""
        whole, begin = [], QUERY_LENGTH + 2
        for document, start in zip(documents, starts, strict=True):
            count, size = self._cut(document)
            states = layers[start : start + count, :, begin : begin + size].transpose(0, 1).flatten(1, 2)
            states = states[:, : len(document)]
            whole.append(nn.functional.pad(states, (0, 0, 0, length - states.shape[1])))
        lengths = torch.tensor([len(document) for document in documents], device=layers.device)
        return torch.stack(whole), torch.arange(length, device=layers.device) < lengths[:, None]

    def score_pairs(self, queries: Sequence[str], passages: Sequence[Passage], *, tick: Tick = no_tick) -> PairScores:
        """Score query i with passage i; see `tamis.rerankers.base.PairScorer`."""
        asked = self._pieces(queries)
        texts = self._pieces([passage.joined for passage in passages])
        truncated = sum(
            len(q) > QUERY_LENGTH or len(d) > self.options.doc_length for q, d in zip(asked, texts, strict=True)
        )
        query = [ids[:QUERY_LENGTH] for ids in asked]
        document = [ids[: self.options.doc_length] for ids in texts]
        found = np.empty(len(query), np.float32)
        lengths = np.array([len(ids) + AROUND for ids in document], np.int64)
        with torch.inference_mode(), self.numerics.running():
            for places in batches_of(lengths, self.numerics.budget):
                chosen = places.tolist()
                found[places] = self([query[i] for i in chosen], [document[i] for i in chosen]).cpu().numpy()
                tick(len(chosen))
        self.tokens += int(lengths.sum())
        require_finite(self.identity.address, found)
        return PairScores(found, truncated)

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        distinct = list(dict.fromkeys(texts))
        known = dict(zip(distinct, self.tokenizer.bare(distinct), strict=True))
        return [known[text] for text in texts]


def _unit(states: torch.Tensor) -> torch.Tensor:
    """States divided by their lengths, as the released code guards it."""
    found: torch.Tensor = states / (states.norm(dim=-1, keepdim=True) + 1e-9)
    return found


def load(address: Address, options: CedrOptions) -> Cedr:
    """Load a checkpoint: CEDR's weights, and the configuration and the tokenizer of the BERT that it was made of.

    Raises:
        MissingResourceError: there is no such checkpoint.
        ModelError: it is no CEDR, or lacks weights.
        UsageError: documents would be longer than a chunk though the head reads one only.
    """
    from transformers import BertConfig, BertModel

    folder = find_checkpoint(address.id, address.revision)
    folders = {"model": folder}
    if not (folder / "config.json").exists():
        folders["base"] = find_checkpoint(options.base)
    base = folders.get("base", folder)
    state = _modern(read_state(folder))
    head_name = find_head(state, folder)
    config = read_config(base, BertConfig)
    if config.max_position_embeddings <= AROUND:
        raise UsageError(f"{base} reads {config.max_position_embeddings} tokens, of which a query takes {AROUND}")
    numerics = Numerics.of(options.device, options.dtype)
    bert = BertModel(config, add_pooling_layer=False)
    fill(bert, state, folder, "bert.")
    head = Heads.classes[head_name](config.hidden_size, config.num_hidden_layers + 1)
    fill(head, state, folder)
    identity = make_identity(
        address, folders, options, VERSION, head=head_name, doc_length=options.doc_length, padding=options.padding
    )
    model = Cedr(identity, numerics, bert, head, Tokenizer(base), options)
    return model.to(numerics.device).eval()


def find_head(state: Mapping[str, torch.Tensor], folder: object) -> str:
    """Return which head a checkpoint has, by the names of its weights.

    Raises:
        ModelError: none that is known.
    """
    for name, sign in Heads.signs.items():
        if any(key.startswith(sign) for key in state):
            return name
    raise ModelError(f"{folder} has the weights of no head of CEDR: {', '.join(Heads.classes)}")


_HEAD = "head."
"""What a module's names have and released names lack."""


def _released_names(_module: nn.Module, state: dict[str, torch.Tensor], prefix: str, _metadata: object) -> None:
    """Name the weights that a model gives as released files do."""
    for name in [name for name in state if name.startswith(prefix + _HEAD)]:
        state[prefix + name.removeprefix(prefix + _HEAD)] = state.pop(name)


def _own_names(_module: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    """Name the weights that a model is given as the module does."""
    for name in [name for name in state if name.startswith(prefix) and not name.startswith(prefix + "bert.")]:
        state[prefix + _HEAD + name.removeprefix(prefix)] = state.pop(name)


def _modern(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename what old files call by other names: the weights of layer norms."""
    old = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    found = {}
    for name, value in state.items():
        for before, after in old.items():
            name = name.replace(before, after)
        found[name] = value.float()
    return found
