"""Finding the relevant passage by words, and reading given ones."""

from __future__ import annotations

import json

import pytest

from tamis.errors import BadRecordError, MissingResourceError
from tamis.eval.diagnosis.passages import best_window, locate, read_passages, word_weights


def test_rare_words_weigh_more():
    weights = word_weights(["the sieve", "the cook", "the soup, THE"])
    assert weights["sieve"] > weights["the"] > 0


def test_the_window_with_most_of_the_query():
    words = ["a", "a", "a", "drum", "a", "a", "a", "a", "drum", "sieve", "a", "a", "a", "a", "a", "a"]
    weights = {"drum": 1.0, "sieve": 1.0}
    first = best_window("Drum sieve?", words, 4, weights)
    assert {"drum", "sieve"} <= set(words[first : first + 4])
    assert first == 7  # what is found stands in the middle


def test_of_equal_windows_the_first():
    words = ["a"] * 5 + ["drum"] + ["a"] * 10 + ["drum"] + ["a"] * 5
    assert best_window("drum", words, 3, {"drum": 1.0}) == 4


def test_a_rarer_word_beats_two_common_ones():
    words = ["of", "the", *["x"] * 8, "tamis"]
    assert best_window("the of tamis", words, 2, {"of": 0.1, "the": 0.1, "tamis": 2.0}) == 9


def test_windows_stay_inside():
    for words in (["drum", "x", "x", "x", "x"], ["x", "x", "x", "x", "drum"]):
        first = best_window("drum", words, 3, {"drum": 1.0})
        assert 0 <= first <= 2
        assert "drum" in words[first : first + 3]
    assert best_window("none", ["x"] * 5, 3, {}) is None


def test_given_passages(tmp_path):
    path = tmp_path / "passages.jsonl"
    path.write_text(json.dumps({"query": "1", "document": "d", "text": "drum  sieve"}) + "\n\n")
    found = read_passages(path)
    assert found == {("1", "d"): "drum  sieve"}
    assert locate(found["1", "d"], ["a", "fine", "drum", "sieve", "is"]) == (2, 2)
    assert locate("drum is", ["a", "fine", "drum", "sieve", "is"]) is None
    path.write_text('{"query": "1", "document": "d"}\n')
    with pytest.raises(BadRecordError, match=r"passages.jsonl:1: a passage needs"):
        read_passages(path)
    with pytest.raises(MissingResourceError):
        read_passages(tmp_path / "none")
