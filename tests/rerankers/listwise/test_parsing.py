"""Answers: a permutation whatever comes, and only from what has the form of an order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.rerankers.listwise.parsing import parse_best, parse_order


@pytest.mark.parametrize(
    ("answer", "count", "order", "repairs"),
    [
        ("[2] > [1] > [3]", 3, [2, 1, 3], {}),
        (" [2]>[1]  >  [3]\n", 3, [2, 1, 3], {}),
        ("[2] > [2] > [5]", 3, [2, 1, 3], {"repeated": 1, "out_of_range": 1, "missing": 2}),
        ("", 3, [1, 2, 3], {"format": 1}),
        ("[1] > [20] > [3]", 4, [1, 3, 2, 4], {"out_of_range": 1, "missing": 2}),
        ("2 1", 4, [2, 1, 3, 4], {"format": 1, "missing": 2}),
        ("2 > 1 > 3", 3, [2, 1, 3], {"format": 1}),
        ("Sure! Here are the 3 passages ranked: [2] > [1] > [3]", 3, [2, 1, 3], {"format": 1}),
        ("The output format is [1] > [2].\n\n[3] > [1] > [2]", 3, [3, 1, 2], {"format": 1}),
        ("[2] > [1] > [3]\nNote: passage [2] mentions 1998.", 3, [2, 1, 3], {"format": 1}),
        ("Error code: 429, rate limited, try in 2s", 5, [1, 2, 3, 4, 5], {"format": 1}),
        ("ERROR::reduce_length", 2, [1, 2], {"format": 1}),
        ("CAB", 3, [1, 2, 3], {"format": 1}),
        ("In 1998 the 2nd passage was better than 3 others.", 3, [1, 2, 3], {"format": 1}),
        ("I cannot rank these 3 passages.", 3, [1, 2, 3], {"format": 1}),
        ("<think>[1] > [2] > [3] perhaps</think>\n[3] > [2] > [1]", 3, [3, 2, 1], {}),
        ("Well.\n<answer>[3] > [2] > [1]</answer> done", 3, [3, 2, 1], {}),
        ("1. [3]\n2. [1]\n3. [2]", 3, [3, 1, 2], {"format": 1}),
        ("[3], [1], [2]", 3, [3, 1, 2], {"format": 1}),
        ("Passages [3], [2] are irrelevant.", 3, [1, 2, 3], {"format": 1}),
        ("[3] > [2] are off topic; I can not rank these.", 3, [1, 2, 3], {"format": 1}),
        ("<think>maybe [3] > [2] > [1], no, wait", 3, [1, 2, 3], {"format": 1}),
        ("try in 2 s\n429 3", 3, [1, 2, 3], {"format": 1}),
        ("So: **[3] > [1] > [2]**.", 3, [3, 1, 2], {"format": 1}),
        ("[2] >", 2, [1, 2], {"format": 1}),
        ("[2]", 2, [2, 1], {"missing": 1}),
        ("[" + "9" * 400 + "] > [1]", 2, [1, 2], {"out_of_range": 1, "missing": 1}),
    ],
)
def test_answers(answer: str, count: int, order: list[int], repairs: dict[str, int]) -> None:
    found = parse_order(answer, count)
    assert [place + 1 for place in found.places] == order
    assert dict(found.repairs) == repairs


@given(st.text() | st.text("[]> 0123456789,\n"), st.integers(1, 30))
def test_any_answer_gives_a_permutation(answer: str, count: int) -> None:
    assert sorted(parse_order(answer, count).places) == list(range(count))


@given(st.permutations(range(1, 21)))
def test_a_plain_answer_needs_no_repair(order: list[int]) -> None:
    found = parse_order(" > ".join(f"[{i}]" for i in order), 20)
    assert [place + 1 for place in found.places] == order
    assert not found.repairs


@pytest.mark.parametrize(
    ("answer", "count", "order", "repairs"),
    [
        ("[B] > [A] > [C]", 3, "BAC", {}),
        ("[B] > [D] > [B]", 3, "BAC", {"out_of_range": 1, "repeated": 1, "missing": 2}),
        ("[B] > [3] > [A]", 3, "BAC", {"out_of_range": 1, "missing": 1}),
        ("B > A > C", 3, "BAC", {"format": 1}),
        ("B, A, C", 3, "BAC", {"format": 1}),
        ("CAB", 3, "ABC", {"format": 1}),
        ("Sure! I pass.", 3, "ABC", {"format": 1}),
        ("I", 9, "ABCDEFGHI", {"format": 1}),
        ("I A C", 3, "ABC", {"format": 1}),
        ("Sure: [C] > [A] > [B]", 3, "CAB", {"format": 1}),
        ("1. [C]\n2. [A]\n3. [B]", 3, "CAB", {"format": 1}),
        ("[C], [A], [B]", 3, "CAB", {"format": 1}),
        ("Error code: 429", 3, "ABC", {"format": 1}),
    ],
)
def test_answers_in_letters(answer: str, count: int, order: str, repairs: dict[str, int]) -> None:
    found = parse_order(answer, count, letters=True)
    assert "".join("ABCDEFGHI"[place] for place in found.places) == order
    assert dict(found.repairs) == repairs
    assert found.known == (order != "ABCDEFGHI"[:count])


@pytest.mark.parametrize(
    ("answer", "best", "repairs"),
    [
        ("B", "B", {}),
        (" Passage B\n", "B", {}),
        ("passage b.", "B", {}),
        ("[B]", "B", {}),
        ("**Passage B**", "B", {}),
        ('Passage B: "a drum sieve"', "B", {}),
        ("<think>A or B</think>\nB", "B", {}),
        ("The most relevant is Passage B, since it names a sieve.", "B", {"format": 1}),
        ("Passage B is better than Passage A.", None, {"format": 1}),
        ("Passage D", None, {"out_of_range": 1}),
        ("A sieve is a tool.", None, {"format": 1}),
        ("I cannot say.", None, {"format": 1}),
        ("<think>B", None, {"format": 1}),
        ("", None, {"format": 1}),
        ("Error code: 429", None, {"format": 1}),
    ],
)
def test_the_best_of_a_few(answer: str, best: str | None, repairs: dict[str, int]) -> None:
    found = parse_best(answer, ["A", "B", "C"])
    assert found.known == (best is not None)
    assert found.places == ([1, 0, 2] if best else [0, 1, 2])
    assert dict(found.repairs) == repairs


@given(st.text() | st.text("[]> ABCabc Passage,\n"), st.integers(1, 26))
def test_any_answer_leaves_a_permutation(answer: str, count: int) -> None:
    labels = [chr(65 + i) for i in range(count)]
    assert sorted(parse_best(answer, labels).places) == list(range(count))
    assert sorted(parse_order(answer, count, letters=True).places) == list(range(count))
