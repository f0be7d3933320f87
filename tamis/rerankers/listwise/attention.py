"""What a model attends to, as a sign of what is relevant, and of where it looks whatever stands there.

- In-context re-ranking: Chen et al., "Attention in Large Language Models Yields Efficient Zero-Shot Re-Rankers", 2025. The score
  of a passage is the attention from the query's tokens to its own, in all layers and heads, less what it gets from a query
  without content: that has nothing to do with the query, but with places, and with words that are always looked at. The
  passages are read once for both.
- Attention sorting: Peysakhovich and Lerer, "Attention Sorting Combats Recency Bias In Long Context Language Models", 2023.
  Before a model answers, passages are put in the order of the attention that they get from the last token, the most attended
  to at the end, where models look best.
"""

from __future__ import annotations

import torch

from tamis.errors import ModelError
from tamis.rerankers.listwise.causal import Causal
from tamis.rerankers.listwise.prompts import QUERY, Question

NO_QUERY = "N/A"
OUTLIERS = 2.0
"""Standard deviations below the mean of a passage's tokens from which one does not count, calibrated."""

Span = tuple[int, int]


def query_attention(
    causal: Causal, question: Question, words: int | None, *, calibrated: bool
) -> tuple[list[float], int]:
    """Return the score of each passage by the attention of the query.

    Args:
        causal: the model.
        question: in a style in which the query comes last.
        words: that are shown of a passage; None: as many as the question says.
        calibrated: whether that of a query without content is taken off.

    Returns:
        The scores, and how many tokens were read.

    Raises:
        ModelError: the query's or a passage's place in the prompt is not known, or the model tells nothing of its attention.
    """
    queries = [question.clean_query, NO_QUERY] if calibrated else [question.clean_query]
    asked, rows = list[list[int]](), list[Span]()
    spans = list[Span]()
    for query in queries:
        text = causal.text(question.style.write(query, question.texts(words)))
        ids, offsets = causal.located(text)
        begin = text.rfind(f"{QUERY} {query}") + len(QUERY)
        if begin < len(QUERY):
            raise ModelError("the checkpoint's chat template changes the query, so that its place is not known")
        asked.append(ids)
        rows.append(_tokens(offsets, begin, begin + 1 + len(query)))
        spans = spans or _spans(text, offsets, question.items(words))
    cut = min(rows[0][0], _common(asked))
    suffixes = [
        (ids[cut:], slice(first - cut, max(end, first + 1) - cut))
        for ids, (first, end) in zip(asked, rows, strict=True)
    ]
    found = causal.attention(asked[0][:cut], suffixes)
    scores = found[0] - found[1] if calibrated else found[0]
    read = len(asked[0]) + sum(len(ids) for ids, _ in suffixes[1:])
    return [_score(scores[first:end], calibrated=calibrated) for first, end in spans], read


def last_attention(causal: Causal, question: Question, words: int | None, opening: str) -> tuple[list[float], int]:
    """Return how much the last token of a prompt attends to each passage, and how many tokens were read.

    Args:
        causal: the model.
        question: of any style.
        words: that are shown of a passage; None: as many as the question says.
        opening: how the answer begins.

    Raises:
        ModelError: as of `query_attention`.
    """
    text = causal.text(question.messages(words)) + opening
    ids, offsets = causal.located(text)
    spans = _spans(text, offsets, question.items(words))
    (found,) = causal.attention(ids[:-1], [(ids[-1:], slice(0, 1))])
    return [float(found[first:end].sum()) for first, end in spans], len(ids)


def _score(tokens: torch.Tensor, *, calibrated: bool) -> float:
    """Return the score of a passage of its tokens'; calibrated, those far below their mean do not count."""
    if calibrated and len(tokens) > 1:
        tokens = tokens[tokens >= tokens.mean() - OUTLIERS * tokens.std()]
    return float(tokens.sum())


def _spans(text: str, offsets: list[Span], items: list[str]) -> list[Span]:
    """Return where in the tokens of a prompt each passage stands."""
    found, at = list[Span](), 0
    for item in items:
        first = text.find(item, at)
        if first < 0:
            raise ModelError("the checkpoint's chat template changes passages, so that their places are not known")
        at = first + len(item)
        found.append(_tokens(offsets, first, at))
    return found


def _tokens(offsets: list[Span], first: int, end: int) -> Span:
    """Return the first and the end of the tokens that stand between two characters, at least in part."""
    inside = [i for i, (begin, stop) in enumerate(offsets) if begin < end and stop > first]
    return (inside[0], inside[-1] + 1) if inside else (len(offsets), len(offsets))


def _common(sequences: list[list[int]]) -> int:
    """Return how many tokens all sequences begin with."""
    count = 0
    for column in zip(*sequences, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count
