"""``genre``: a sequence-to-sequence model writes the title (GENRE: De Cao et al., ICLR 2021), held to the titles that there are.

``genre:ID`` is any checkpoint of transformers' AutoModelForSeq2SeqLM, a folder or a hub id. Beam search may only follow the
tokens of a title of the vocabulary; the score is the log-probability divided by the number of tokens. The input is the text, with
``[START_ENT] mention [END_ENT]`` in it where a mention is known. Entities of the same title are all proposed, by popularity.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tamis.entities.cache import CachedLinker
from tamis.entities.linking import Candidate, Mention, linker_fingerprint
from tamis.entities.vocabulary import EntityVocabulary
from tamis.errors import ModelError
from tamis.families import Address, option, option_values, parse_options

VERSION = 1
OPENING, CLOSING = "[START_ENT]", "[END_ENT]"
_BEYOND = 1 << 62
_REMEMBERED = 1 << 16


@dataclass(frozen=True)
class GenreOptions:
    """Options of ``genre``."""

    beams: int = option(5, "beams, and titles that are proposed", scope="model", ge=1)
    max_length: int = option(384, "tokens that are read of a text", scope="model", ge=8)
    window: int = option(64, "words on either side of a mention that are read", scope="model", ge=1)
    batch: int = option(8, "texts at a time", ge=1)
    device: str = option("auto", "cpu, cuda, cuda:1, mps; auto takes an accelerator if there is one")


class TitleTrie:
    """Sequences of tokens, sorted: those that begin alike are neighbours, so that a prefix is a range.

    Args:
        sequences: of token ids, each with a number; the same may come several times.

    Attributes:
        longest: length of the longest.
    """

    def __init__(self, sequences: Sequence[tuple[tuple[int, ...], int]]) -> None:
        ordered = sorted(sequences)
        self._sequences = [sequence for sequence, _ in ordered]
        self._numbers = [number for _, number in ordered]
        self.longest = max(map(len, self._sequences), default=0)
        self._next = lru_cache(_REMEMBERED)(self._following)

    def following(self, prefix: Sequence[int]) -> list[int]:
        """Return the tokens that may follow a prefix, ascending; none where it is no beginning of a sequence, or a whole one."""
        return self._next(tuple(prefix))

    def _following(self, prefix: tuple[int, ...]) -> list[int]:
        at = bisect_left(self._sequences, prefix)
        end = bisect_right(self._sequences, (*prefix, _BEYOND))
        found = []
        while at < end:
            sequence = self._sequences[at]
            if len(sequence) == len(prefix):
                at += 1
                continue
            found.append(sequence[len(prefix)])
            at = bisect_right(self._sequences, (*prefix, sequence[len(prefix)], _BEYOND))
        return found

    def numbers(self, sequence: Sequence[int]) -> list[int]:
        """Return the numbers of a whole sequence."""
        key = tuple(sequence)
        return self._numbers[bisect_left(self._sequences, key) : bisect_right(self._sequences, key)]


class GenreLinker:
    """A `tamis.entities.linking.Linker`.

    Args:
        vocabulary: whose titles are written.
        model: of transformers, for conditional generation.
        tokenizer: of transformers.
        identity: JSON values that say which model it is.
        options: see `GenreOptions`.

    Raises:
        ModelError: the model has no start or end of its output.
    """

    def __init__(
        self, vocabulary: EntityVocabulary, model: Any, tokenizer: Any, identity: Any, options: GenreOptions
    ) -> None:
        self._vocabulary, self._model, self._tokenizer, self._options = vocabulary, model, tokenizer, options
        config = model.generation_config
        self._start, self._end = config.decoder_start_token_id, tokenizer.eos_token_id
        if self._start is None or self._end is None:
            raise ModelError("the model states no token that begins, or none that ends, what it writes")
        self._trie = TitleTrie(self._sequences())
        settings = option_values(options, "model")
        self.fingerprint = linker_fingerprint(vocabulary, "genre", VERSION, model=identity, **settings)

    def _sequences(self) -> list[tuple[tuple[int, ...], int]]:
        found = []
        for block in self._vocabulary.blocks:
            titles = [block.titles[i] for i in range(len(block))]
            for place, ids in enumerate(self._tokenizer(titles)["input_ids"]):
                ended = ids if ids and ids[-1] == self._end else [*ids, self._end]
                found.append(((self._start, *ended), block.first + place))
        return found

    def link(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        """See `Linker`."""
        found = [list[Candidate]() for _ in mentions]
        order = sorted(range(len(mentions)), key=lambda i: len(mentions[i].text))  # little padding
        for first in range(0, len(order), self._options.batch):
            places = order[first : first + self._options.batch]
            for place, own in zip(places, self._written([mentions[i] for i in places]), strict=True):
                found[place] = own
        return found

    def _written(self, mentions: Sequence[Mention]) -> list[list[Candidate]]:
        import torch

        texts = [_input(mention, self._options.window) for mention in mentions]
        limits = {"truncation": True, "max_length": self._options.max_length}
        inputs = self._tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False, **limits)
        inputs = {name: value.to(self._model.device) for name, value in inputs.items()}
        with torch.inference_mode():
            made = self._model.generate(
                **inputs,
                num_beams=max(self._options.beams, 2),  # one beam would be scored among the allowed tokens only
                num_return_sequences=self._options.beams,
                prefix_allowed_tokens_fn=self._allowed,
                max_new_tokens=self._trie.longest,
                do_sample=False,
                early_stopping=False,
                length_penalty=1.0,
                forced_bos_token_id=None,
                forced_eos_token_id=None,
                no_repeat_ngram_size=0,
                min_length=0,
                return_dict_in_generate=True,
                output_scores=True,
            )
        found = []
        for i, mention in enumerate(mentions):
            span = range(i * self._options.beams, (i + 1) * self._options.beams)
            own = list[Candidate]()
            for j in span:
                own += self._meant(made.sequences[j].tolist(), float(made.sequences_scores[j]), mention)
            found.append(own)
        return found

    def _allowed(self, _: int, prefix: Any) -> list[int]:
        return self._trie.following(prefix.tolist()) or [self._end]

    def _meant(self, written: list[int], score: float, mention: Mention) -> list[Candidate]:
        if not score > float("-inf"):
            return []
        end = written.index(self._end, 1) + 1 if self._end in written[1:] else len(written)
        numbers = self._trie.numbers(written[:end])
        popular = sorted(numbers, key=lambda number: -self._vocabulary[number].popularity)
        return [Candidate(number, score, mention.span) for number in popular]


def _input(mention: Mention, window: int) -> str:
    """Return the text with its mention marked, and so many words on either side."""
    if mention.span is None:
        return mention.text
    first, end = mention.span
    left, right = mention.text[:first].split()[-window:], mention.text[end:].split()[:window]
    return " ".join([*left, OPENING, mention.surface, CLOSING, *right])


def load(address: Address, vocabulary: EntityVocabulary) -> Any:
    """Load the model and make the linker.

    Raises:
        MissingResourceError: there is no such checkpoint.
        ModelError: it cannot be used.
    """
    from tamis.encoders.batching import Numerics
    from tamis.encoders.checkpoints import checkpoint_files, find_checkpoint, load_transformer

    options = parse_options(GenreOptions, address.options, of="linker genre")
    folder = find_checkpoint(address.id, address.revision)
    from transformers import AutoTokenizer

    model: Any = load_transformer(folder, unused=(), auto="AutoModelForSeq2SeqLM")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: its tokenizer cannot be read: {error}") from error
    model = model.to(Numerics.of(options.device, "float32").device).eval()
    return CachedLinker(GenreLinker(vocabulary, model, tokenizer, checkpoint_files(folder), options), vocabulary)
