"""A causal language model on this machine: how a conversation is written for it, greedy decoding, and its first token.

Prompts of one batch are padded on the left, so that all answers begin at the same place. Nothing of a checkpoint's own generation
settings is used but the tokens that end an answer: sampling, penalties and the like make rankings worse.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tamis.encoders.batching import Numerics
from tamis.encoders.checkpoints import Quiet, read_json, refuse_missing, require_weights
from tamis.errors import ModelError
from tamis.rerankers.listwise.prompts import Messages

_PROBE: Messages = [{"role": "system", "content": "cook"}, {"role": "user", "content": "soup"}]


class Written(NamedTuple):
    """An answer.

    Attributes:
        ids: of its tokens, without the one that ends it.
        cut: whether it ended for want of tokens.
    """

    ids: list[int]
    cut: bool


class Opening(NamedTuple):
    """How an answer that names a passage begins.

    Attributes:
        text: before the name.
        ids: of the token that each name begins with after that.
    """

    text: str
    ids: list[int]


Step = Callable[[torch.Tensor | None], torch.Tensor]
"""Next tokens' logits [prompts, vocabulary], once it is told those chosen last, int64 [prompts]."""


class Causal:
    """A causal language model.

    Args:
        model: of transformers, with a head for language modelling.
        tokenizer: its own, of transformers.
        numerics: where it runs, and how many tokens a batch may have.
        template: how a conversation is written: ``auto`` as the tokenizer says, and plain if it says nothing; ``vicuna``, which
            was trained with a form that its tokenizer does not know; ``plain``.
        context: tokens that are read and written; None: as many as the model has positions.

    Raises:
        ModelError: more are wanted than there are positions.
    """

    def __init__(
        self, model: Any, tokenizer: Any, numerics: Numerics, *, template: str = "auto", context: int | None = None
    ) -> None:
        self.model, self.tokenizer, self.numerics = model, tokenizer, numerics
        positions = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)
        if context is not None and context > positions:
            raise ModelError(f"context={context}: the model has {positions} positions")
        self.context = context or min(tokenizer.model_max_length, positions)
        self._template = "plain" if template == "auto" and not tokenizer.chat_template else template
        self._system = self._template != "auto" or self._takes_system()
        self._accepts = set(inspect.signature(model.forward).parameters)
        begin = tokenizer.bos_token_id
        self._begin = [begin] if begin is not None and tokenizer("soup")["input_ids"][:1] == [begin] else []
        ends = model.generation_config.eos_token_id if model.generation_config is not None else None
        self._ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
        self._pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
        self.opening = lru_cache(maxsize=None)(self._opening)

    # -- writing ---------------------------------------------------------------------------------------------------

    def text(self, messages: Messages) -> str:
        """Return a conversation as the model reads it, up to where it answers.

        Raises:
            ModelError: the checkpoint's template does not take it.
        """
        if self._template == "plain":
            return "\n".join(one["content"] for one in messages) + "\n"
        if self._template == "vicuna":
            return _vicuna(messages)
        try:
            return self._render(messages if self._system else _merged(messages))
        except Exception as error:  # a template is a program, which may fail in any way
            raise ModelError(f"the checkpoint's chat template does not take this prompt: {error}") from error

    def prompt(self, messages: Messages, opening: str) -> list[int]:
        """Return the tokens of a conversation up to where it answers, and on with how the answer begins."""
        return self.ids(self.text(messages) + opening)

    def ids(self, text: str) -> list[int]:
        """Return the tokens of what `text` gives."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found if self._template == "auto" else self._begin + found

    def located(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the tokens of what `text` gives, and where in it each stands, as (first, end) characters."""
        found = self.tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        begin = [] if self._template == "auto" else self._begin
        return begin + found["input_ids"], [(0, 0)] * len(begin) + found["offset_mapping"]

    def _render(self, messages: Messages) -> str:
        # models that think first when they may would run out of tokens before they answer
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return text

    def _takes_system(self) -> bool:
        try:
            return "cook" in self._render(_PROBE)
        except Exception:  # noqa: BLE001 - templates without system messages raise, or leave them out
            return False

    def _opening(self, labels: tuple[str, ...], form: str) -> Opening:
        """Return how an answer of the form begins up to its label, and the token that tells each label from the others.

        Raises:
            ModelError: the tokenizer has no token that does.
        """
        head = form.partition("{}")[0]
        for opening in dict.fromkeys([head, head.rstrip(), ""]):
            base = self._answered(opening)
            full = [self._answered(form.format(label)) for label in labels]
            found = [ids[len(base)] for ids in full if ids[: len(base)] == base and len(ids) > len(base)]
            if len(set(found)) == len(labels):
                return Opening(opening, found)
        raise ModelError(
            f"the first token of an answer does not tell {labels[0]} to {labels[-1]} apart with this tokenizer: take "
            "decoding=generate"
        )

    def _answered(self, answer: str) -> list[int]:
        """Return the tokens of an answer with what stands before it."""
        return self.prompt([{"role": "user", "content": "soup"}], answer)

    # -- running ---------------------------------------------------------------------------------------------------

    def generate(
        self, prompts: Sequence[Sequence[int]], limits: Sequence[int], until: float | None = None
    ) -> list[Written | None]:
        """Continue prompts, each step with the likeliest token.

        Args:
            prompts: tokens of each.
            limits: of the answers' tokens.
            until: when to stop, by ``time.monotonic``.

        Returns:
            The answers; None for those that had not come to an end when the time was over.

        Raises:
            ModelError: the model gives numbers that are not finite.
        """
        with torch.inference_mode():
            return self._greedy(self._begun(prompts), limits, until)

    def _begun(self, prompts: Sequence[Sequence[int]]) -> Step:
        """Return what gives the logits of the next tokens, once it is told those before, None at first."""
        ids, mask = self._padded(prompts)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = None

        def step(chosen: torch.Tensor | None) -> torch.Tensor:
            nonlocal ids, mask, positions, cache
            if chosen is not None:
                ids, mask = chosen[:, None], torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
                positions = positions[:, -1:] + 1
            result = self._forward(ids, mask, positions, past_key_values=cache, use_cache=True)
            cache = result.past_key_values
            logits: torch.Tensor = result.logits[:, -1]
            return logits

        return step

    def _greedy(self, step: Step, limits: Sequence[int], until: float | None) -> list[Written | None]:
        """Write answers, each step with the likeliest token; see `generate`."""
        written: list[list[int]] = [[] for _ in limits]
        ended, cut = [False] * len(limits), [False] * len(limits)
        chosen = None
        while not all(ended):
            if until is not None and time.monotonic() > until:
                break
            chosen = self._finite(step(chosen)).argmax(-1)
            for i, token in enumerate(chosen.tolist()):
                if ended[i]:
                    continue
                if token in self._ends:
                    ended[i] = True
                    continue
                written[i].append(token)
                ended[i] = cut[i] = len(written[i]) >= limits[i]
        return [Written(written[i], cut[i]) if ended[i] else None for i in range(len(limits))]

    def first(
        self, prompts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]], openings: Sequence[str]
    ) -> list[list[float]]:
        """Return the logits of some tokens behind each prompt.

        Args:
            prompts: tokens of each, as `prompt` gives them.
            tokens: whose logits are wanted, of each prompt.
            openings: how each answer begins; these prompts hold it.

        Raises:
            ModelError: the model gives numbers that are not finite.
        """
        ids, mask = self._padded(prompts)
        with torch.inference_mode():
            result = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), use_cache=False)
            logits = self._finite(result.logits[:, -1])
        return [logits[i, list(wanted)].tolist() for i, wanted in enumerate(tokens)]

    def attention(self, prefix: Sequence[int], suffixes: Sequence[tuple[Sequence[int], slice]]) -> list[torch.Tensor]:
        """Return how much is attended to each token of a prefix from behind it, summed over layers and heads.

        Args:
            prefix: tokens, which are read once.
            suffixes: for each what follows, and which of its tokens attend; the mean of them counts.

        Returns:
            float32 [tokens of the prefix], for each suffix.
        """
        ids, mask = self._padded([prefix])
        found = []
        with torch.inference_mode():
            result = self._forward(ids, mask, mask.cumsum(1) - 1, use_cache=True)
            for number, (suffix, rows) in enumerate(suffixes, 1):
                # what is read is added to the cache, and how that is undone differs from version to version
                cache = result.past_key_values if number == len(suffixes) else deepcopy(result.past_key_values)
                ids, more = self._padded([suffix])
                whole = torch.cat([mask, more], 1)
                positions = (whole.cumsum(1) - 1)[:, len(prefix) :]
                options = {"past_key_values": cache, "use_cache": True, "output_attentions": True}
                seen = self._forward(ids, whole, positions, **options).attentions
                if not seen or seen[0] is None:
                    raise ModelError("the model does not tell of its attention: take decoding=generate or first")
                total = sum(layer[0, :, rows, : len(prefix)].float().sum(0).mean(0) for layer in seen)
                assert isinstance(total, torch.Tensor)  # noqa: S101 - there are layers
                found.append(self._finite(total[None])[0].cpu())
        return found

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, **more: Any) -> Any:
        # of a long prompt only the last logits are wanted, which models can be told; those without positions go by the mask
        known = {"position_ids": positions, "logits_to_keep": 1}
        taken = {name: known[name] for name in known if name in self._accepts}
        return self.model(input_ids=ids, attention_mask=mask, **taken, **more)

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for i, prompt in enumerate(prompts):
            ids[i, width - len(prompt) :] = torch.tensor(prompt)
            mask[i, width - len(prompt) :] = 1
        return ids.to(self.numerics.device), mask.to(self.numerics.device)

    def _finite(self, logits: torch.Tensor) -> torch.Tensor:
        if not bool(torch.isfinite(logits.max(-1).values).all()):
            raise ModelError("the model gives numbers that are not finite: take dtype=float32, or bfloat16")
        return logits.float()


def load_causal(
    folder: Path, numerics: Numerics, *, template: str, context: int | None, attention: str | None
) -> Causal:
    """Load a checkpoint for language modelling, causal or of an encoder and a decoder.

    Args:
        folder: of the checkpoint.
        numerics: where it runs, and the precision of its weights.
        template: see `Causal`.
        context: see `Causal`.
        attention: the implementation of attention; None: whichever is fastest.

    Raises:
        ModelError: it cannot be read, or lacks weights.
    """
    model, tokenizer = load_language_model(folder, numerics.dtype, attention)
    if model.config.is_encoder_decoder:
        from tamis.rerankers.listwise.seq2seq import EncoderDecoder

        return EncoderDecoder(model.to(numerics.device), tokenizer, numerics, template=template, context=context)
    return Causal(model.to(numerics.device), tokenizer, numerics, template=template, context=context)


def load_language_model(folder: Path, dtype: str, attention: str | None = None) -> tuple[Any, Any]:
    """Load a checkpoint for language modelling, ready to run, and its tokenizer, of transformers.

    Args:
        folder: of the checkpoint.
        dtype: the precision of its weights.
        attention: the implementation of attention; None: whichever is fastest.

    Raises:
        ModelError: it cannot be read, or lacks weights.
    """
    import transformers

    config = read_json(folder / "config.json", {})
    encodes = bool(config.get("is_encoder_decoder"))
    models: Any = transformers.AutoModelForSeq2SeqLM if encodes else transformers.AutoModelForCausalLM
    tokenizers: Any = transformers.AutoTokenizer
    require_weights(folder)
    more = {} if attention is None else {"attn_implementation": attention}
    try:
        with Quiet():
            tokenizer = tokenizers.from_pretrained(folder)
            model, loading = models.from_pretrained(
                folder, output_loading_info=True, dtype=getattr(torch, dtype), **more
            )
    except Exception as error:  # a damaged file's errors share no base
        raise ModelError(
            f"{folder} cannot be read as a {'sequence-to-sequence' if encodes else 'causal'} language model: {error}"
        ) from error
    tied = model.config.tie_word_embeddings
    # both halves of an encoder-decoder read the matrix of token vectors that they share
    shared = tuple(f"{at}{half}.embed_tokens." for at in ("", "model.") for half in ("encoder", "decoder") if encodes)
    refuse_missing(folder, loading["missing_keys"], (*shared, "lm_head.") if tied else shared)
    head = model.get_output_embeddings()
    untied = config.get("tie_word_embeddings") is False and head is not None
    if (
        untied and head.weight is model.get_input_embeddings().weight
    ):  # transformers ties the head of a T5 that lacks it
        refuse_missing(folder, ["lm_head.weight"])
    return model.eval(), tokenizer


def _merged(messages: Messages) -> Messages:
    """Return a conversation whose system message is the beginning of the first of the user's."""
    system = "\n".join(one["content"] for one in messages if one["role"] == "system")
    rest = [dict(one) for one in messages if one["role"] != "system"]
    if system and rest:
        rest[0]["content"] = f"{system}\n{rest[0]['content']}"
    return rest


def _vicuna(messages: Messages) -> str:
    """Return a conversation in the form of Vicuna 1.1."""
    names = {"user": "USER: {} ", "assistant": "ASSISTANT: {}</s>", "system": "{} "}
    return "".join(names[one["role"]].format(one["content"]) for one in messages) + "ASSISTANT:"
