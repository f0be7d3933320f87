"""``fit5``: a T5 that reads each candidate with the score of the stage before, and all of them together.

Yu et al., "Fusion-in-T5", 2023, as its released code does it (see `tamis.rerankers.fit5_network` for the network): of a query the
first 64 characters, of a passage 512, and of the prompt 200 tokens. The score stands in the prompt as a whole number of percent:

- ``score=list`` (the default): from the least of the list's scores, 0, to the largest, 100; it suits any stage before;
- ``score=global``: from `score_min` to `score_max`, more counts as `score_max`, less is negative; the released checkpoint was
  trained so, after coCondenser, whose scores are between 165 and 190;
- ``score=none``: none, the prompt of the first training stage.

Lists of a batch are worked on together, in batches of prompts of similar length, as far as memory should go; a long list goes by
itself, whatever its length. With `dummies` a list is filled up with empty candidates, which take part in attention, as in the
released code (100 there).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tamis.encoders.base import ModelIdentity, Passage, Tick, no_tick
from tamis.encoders.batching import Inputs, Numerics, batches_of, pad_batch, require_finite
from tamis.encoders.checkpoints import fill, find_checkpoint, read_json, read_state, refuse_missing
from tamis.encoders.text import Tokenizer
from tamis.encoders.transformer import make_identity
from tamis.errors import ModelError, UsageError
from tamis.families import Address
from tamis.rerankers.fit5_network import FusionT5
from tamis.rerankers.lists import CandidateList, ListScores
from tamis.rerankers.options import FiT5Options
from tamis.rerankers.t5 import t5_targets
from tamis.rerankers.t5_network import Geometry
from tamis.rerankers.templates import Template
from tamis.stages import Evidence

VERSION = 1
"""Of how prompts are written and their scores worked out; raised when what is computed changes."""

START = "[CLS]"
TEMPLATE = "[CLS] Query: {query} Title: {title} score: {score} Passage: {document} Relevant:"
TEMPLATE_WITHOUT_SCORE = "[CLS] Query: {query} Title: {title} Passage: {document} Relevant:"
"""The released ones end in a space, of which T5's tokenizers make nothing."""

QUERY_CHARACTERS, PASSAGE_CHARACTERS = 64, 512
MAX_LENGTH = 200
DUMMY, DUMMY_SCORE = "None", "-10"

GROUP_TOKENS = 1 << 16
"""Tokens whose states are held at a time, of several lists; a list that has more goes alone."""

_FUSED = "encoder.project_global."


@dataclass(frozen=True)
class _Prompts:
    """The prompts of some lists, one after another.

    Attributes:
        inputs: their tokens.
        sizes: candidates of each list, dummies not counted.
        shown: the score text of each prompt; empty where none is shown.
        prompts: prompts of each list.
    """

    inputs: Inputs
    sizes: list[int]
    shown: list[str]
    prompts: list[int]


class FiT5(nn.Module):
    """A `tamis.rerankers.lists.ListScorer`.

    Args:
        identity: of the model.
        numerics: where and how it runs.
        network: the network.
        template: how prompts are written.
        options: how scores are shown, and lists filled up.

    Attributes:
        tokens: how many tokens the model has read so far, padding not counted.
    """

    def __init__(
        self, identity: ModelIdentity, numerics: Numerics, network: FusionT5, template: Template, options: FiT5Options
    ) -> None:
        super().__init__()
        self.identity, self.numerics = identity, numerics
        self.network, self.template, self.options = network, template, options
        self.tokens = 0

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None, members: torch.Tensor) -> torch.Tensor:
        """Return the logit of "true" of each prompt, differentiably.

        Args:
            ids: int64 [prompts, tokens].
            mask: int64, 1 where there is a token; None: everywhere.
            members: int64 [lists, most candidates]: which prompts make a list; -1 where it has no more.

        Returns:
            float32 [prompts].
        """
        return self.network.score([(ids, mask)], members)

    def score_lists(
        self, lists: Sequence[CandidateList], *, tick: Tick = no_tick, until: float | None = None
    ) -> ListScores:
        """Score the candidates of each list; see `tamis.rerankers.lists.ListScorer`."""
        scores = [np.full(len(one.passages), np.nan) for one in lists]
        counts: Counter[str] = Counter(truncated=0, tokens=0)
        for span in self._groups(lists, alone=until is not None):
            if until is not None and time.monotonic() > until:
                break
            group = lists[span.start : span.stop]
            prompts = self._prompts(group)
            found = self._logits(prompts)
            at = 0
            for place, size, count in zip(span, prompts.sizes, prompts.prompts, strict=True):
                scores[place] = found[at : at + size].astype(np.float64)
                at += count
            counts.update(truncated=prompts.inputs.truncated, tokens=sum(map(len, prompts.inputs.ids)))
            tick(sum(prompts.sizes))
        self.tokens += counts["tokens"]
        return ListScores(scores, counts)

    def explain_list(self, candidates: CandidateList) -> list[Evidence]:
        """Return each candidate's logit, its share of the list's, and the score that was shown."""
        prompts = self._prompts([candidates])
        logits = self._logits(prompts)[: prompts.sizes[0]].astype(np.float64)
        shares = np.exp(logits - logits.max(initial=-np.inf))
        shares /= shares.sum() if len(shares) else 1
        return [
            Evidence(
                "logit of true",
                float(logit),
                {"share of the list": round(float(share), 4)} | ({"score shown": shown} if shown else {}),
            )
            for logit, share, shown in zip(logits, shares, prompts.shown, strict=False)
        ]

    def _groups(self, lists: Sequence[CandidateList], *, alone: bool) -> Iterator[range]:
        """Yield the places of lists that are worked on together."""
        first, held = 0, 0
        for place, one in enumerate(lists):
            size = max(len(one.passages), self.options.dummies or 0) * self.template.max_length
            if place > first and (alone or held + size > GROUP_TOKENS):
                yield range(first, place)
                first, held = place, 0
            held += size
        if first < len(lists):
            yield range(first, len(lists))

    def _prompts(self, lists: Sequence[CandidateList]) -> _Prompts:
        texts: dict[str, list[str]] = {"query": [], "title": [], "score": [], "document": []}
        sizes, prompts = [], []
        for one in lists:
            size = len(one.passages)
            empty = max(0, (self.options.dummies or 0) - size) if size else 0
            passages = [*one.passages, *[Passage("", DUMMY)] * empty]
            texts["query"] += [one.query[:QUERY_CHARACTERS]] * len(passages)
            texts["title"] += [passage.title for passage in passages]
            texts["score"] += [*shown_scores(one.scores, self.options), *[DUMMY_SCORE] * empty]
            texts["document"] += [shown_passage(passage.text) for passage in passages]
            sizes.append(size)
            prompts.append(len(passages))
        shown = texts["score"]
        if self.options.score == "none":
            shown = [""] * len(texts.pop("score"))
        return _Prompts(self.template.inputs(texts), sizes, shown, prompts)

    def _logits(self, prompts: _Prompts) -> NDArray[np.float32]:
        """Return the logit of every prompt: float32 [prompts]."""
        inputs, device = prompts.inputs, self.numerics.device
        if not len(inputs):
            return np.zeros(0, np.float32)
        lengths = np.array([len(ids) for ids in inputs.ids], np.int64)
        chosen = list(batches_of(lengths, self.numerics.budget))
        batches = [pad_batch(inputs, places, lengths, self.template.tokenizer.pad, device)[:2] for places in chosen]
        order = np.concatenate(chosen)
        number = np.empty_like(order)
        number[order] = np.arange(len(order))
        members = np.full((len(prompts.prompts), max(prompts.prompts)), -1, np.int64)
        at = 0
        for row, count in enumerate(prompts.prompts):
            members[row, :count] = number[at : at + count]
            at += count
        members = members[members[:, 0] >= 0]  # an empty list attends to nothing
        with torch.inference_mode(), self.numerics.running():
            logits = self.network.score(batches, torch.from_numpy(members).to(device))
        found = np.empty(len(order), np.float32)
        found[order] = logits.float().cpu().numpy()
        require_finite(self.identity.address, found)
        return found


def shown_scores(scores: NDArray[np.float64], options: FiT5Options) -> list[str]:
    """Return what prompts say of the scores of a list; percents are cut towards zero, as Python's ``int`` does."""
    if options.score == "global":
        assert options.score_min is not None  # noqa: S101 - checked when the model was loaded
        assert options.score_max is not None  # noqa: S101
        low, high = options.score_min, options.score_max
        return [str(int((min(score, high) - low) / (high - low) * 100)) for score in scores.tolist()]
    low, high = float(scores.min(initial=np.inf)), float(scores.max(initial=-np.inf))
    if not high > low:
        return ["100"] * len(scores)
    return [str(int((score - low) / (high - low) * 100)) for score in scores.tolist()]


def shown_passage(text: str) -> str:
    """Return what a prompt says of a passage."""
    return text.replace("[SEP]", "").replace("  ", " ")[:PASSAGE_CHARACTERS]


def load(address: Address, options: FiT5Options) -> FiT5:
    """Load a checkpoint: FiT5's weights, and the configuration and the tokenizer of the T5 that it was made of.

    Raises:
        MissingResourceError: there is no such checkpoint.
        ModelError: it is no FiT5, or lacks weights.
        UsageError: options contradict each other.
    """
    _check(options)
    folder = find_checkpoint(address.id, address.revision)
    folders = {"model": folder}
    if not (folder / "config.json").exists():
        folders["base"] = find_checkpoint(options.base)
    base = folders.get("base", folder)
    numerics = Numerics.of(options.device, options.dtype)
    tokenizer = Tokenizer(base)
    if tokenizer.raw.token_to_id(START) is None:
        tokenizer.raw.add_special_tokens([START])
    text = TEMPLATE_WITHOUT_SCORE if options.score == "none" else TEMPLATE
    template = Template(
        text, tokenizer, options.max_length or MAX_LENGTH, cut_end=options.truncation == "end", whole=("score",)
    )
    _, true = t5_targets(tokenizer, base)
    settings = {name: getattr(options, name) for name in ("score", "score_min", "score_max", "dummies")}
    identity = make_identity(
        address,
        folders,
        options,
        VERSION,
        template=text,
        max_length=template.max_length,
        cut_end=options.truncation == "end",
        **settings,
    )
    network = _network(folder, Geometry.of(read_json(base / "config.json", {}), base), tokenizer.id_of(START), true)
    if options.dtype == "float16":
        network.shrink()
    return FiT5(identity, numerics, network.to(numerics.device).eval(), template, options)


def _check(options: FiT5Options) -> None:
    low, high = options.score_min, options.score_max
    if options.score == "global" and (low is None or high is None or not low < high):
        raise UsageError(
            f"score=global with score_min={low} and score_max={high}: give the range of the scores of the stage before, "
            "the lower one first, such as score_min=165&score_max=190 for coCondenser"
        )


def _network(folder: Path, geometry: Geometry, start: int, true: int) -> FusionT5:
    given = {name.removeprefix("module.").removeprefix("t5."): x.float() for name, x in read_state(folder).items()}
    refuse_missing(folder, [name for name in ("shared.weight", "dense.weight", "dense.bias") if name not in given])
    fused = {name.removeprefix(_FUSED).partition(".")[0] for name in given if name.startswith(_FUSED)}
    if not fused:
        raise ModelError(f"{folder} has no weights {_FUSED}*: it is no FiT5; monot5:{folder} reads a plain T5")
    for what, token, rows in ((START, start, given["shared.weight"]), ("true", true, given["dense.weight"])):
        if token >= len(rows):
            raise ModelError(f"{folder}: {what!r} is token {token}, and there are weights of {len(rows)} tokens")
    row = {"rows": given["dense.weight"][[true]].clone(), "bias": given["dense.bias"][[true]].clone()}
    with torch.device("meta"):
        network = FusionT5(geometry, len(fused))
    fill(network, given | row, folder, assign=True)
    return network
