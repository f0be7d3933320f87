"""First-token decoding behind an endpoint: the likeliest tokens where an answer names its first passage.

An endpoint tells no more than the likeliest few, 20 as a rule. A passage that is not among them comes after those that are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST = 20
"""Tokens that endpoints tell of at a place."""

ANSWER = 4
"""Tokens that are written: as many as stand before the name of a passage, and it."""

_AROUND = " [(▁Ġ\n\"'*"
"""What may stand before a name in its token."""


def read_scores(choice: Mapping[str, Any], labels: Sequence[str], answer: str) -> tuple[float, ...] | None:
    """Return the log-probability of each passage to be named first.

    Args:
        choice: of a chat completion.
        labels: what the passages are called.
        answer: the form of an answer, with ``{}`` for a name.

    Returns:
        A score a passage, for those that the endpoint does not tell of less than for all others; None where the answer begins
        otherwise, or the endpoint tells nothing.
    """
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    said = ""
    for place in content if isinstance(content, list) else ():
        if not isinstance(place, dict) or not isinstance(place.get("token"), str):
            return None
        name = place["token"].lstrip(_AROUND)
        before = said + place["token"].removesuffix(name)
        if name in labels and before.strip(" ▁Ġ\n") in (answer.partition("{}")[0].strip(), ""):
            return _of_labels(place.get("top_logprobs"), labels)
        said += place["token"]
    return None


def _of_labels(told: Any, labels: Sequence[str]) -> tuple[float, ...] | None:
    found: dict[str, float] = {}
    for one in told if isinstance(told, list) else ():
        if isinstance(one, dict) and isinstance(one.get("token"), str) and isinstance(one.get("logprob"), (int, float)):
            name = one["token"].lstrip(_AROUND)
            if name in labels:
                found[name] = max(found.get(name, float("-inf")), float(one["logprob"]))
    if not found:
        return None
    least = min(found.values()) - 1
    return tuple(found.get(label, least) for label in labels)
