"""What an endpoint tells of an answer's first tokens."""

from __future__ import annotations

from typing import Any

import pytest

from tamis.rerankers.listwise.logprobs import read_scores


def place(token: str, **told: float) -> dict[str, Any]:
    return {"token": token, "top_logprobs": [{"token": name, "logprob": value} for name, value in told.items()]}


def choice(*places: dict[str, Any]) -> dict[str, Any]:
    return {"logprobs": {"content": list(places)}}


SCORED = {"A": -2.0, "B": -0.5, "]": -3.0}


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (choice(place("["), place("B", **SCORED)), "[{}]"),
        (choice(place("[B", **{"[A": -2.0, "[B": -0.5, "x": -4.0})), "[{}]"),
        (choice(place("▁["), place("B", **SCORED)), "[{}]"),
        (choice(place("\n"), place("["), place("B", **SCORED)), "[{}]"),
        (choice(place("Passage"), place(" B", **{" A": -2.0, " B": -0.5, "A": -9.0})), "Passage {}"),
        (choice(place("B", **SCORED)), "Passage {}"),
    ],
)
def test_the_place_of_the_name_is_found(given: dict[str, Any], answer: str) -> None:
    assert read_scores(given, ["A", "B", "C"], answer) == (-2.0, -0.5, -3.0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"logprobs": None},
        {"logprobs": {"content": "?"}},
        choice(),
        choice(place("Sure"), place(","), place(" A", **SCORED)),
        choice(place("["), place("X", **SCORED)),
        choice(place("["), {"token": "B", "top_logprobs": None}),
        choice(place("["), place("B", x=-1.0)),
        {"logprobs": {"content": [7]}},
    ],
)
def test_what_names_no_passage_scores_none(given: dict[str, Any]) -> None:
    assert read_scores(given, ["A", "B", "C"], "[{}]") is None
