"""Segments beside the whole document: a one-segment reader sees the first only."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.encoders.base import Passage
from tamis.errors import DataError, UsageError
from tamis.eval.diagnosis.models import open_text_model
from tamis.eval.diagnosis.segments import segment_bias, segment_chart, segment_table, split_words
from tamis.eval.diagnosis.texts import Texts


def texts(count: int = 3, words: int = 40) -> Texts:
    letters = "abcdefghijklmnopqrstuvwxyz"
    passages = [Passage("", " ".join(letters[(i + j) % 26] for j in range(words))) for i in range(count)]
    return Texts([*passages, Passage("", "short")])


def test_segments_cover_the_words():
    parts = split_words([str(i) for i in range(11)], 4)
    assert [word for part in parts for word in part] == [str(i) for i in range(11)]
    assert sorted(map(len, parts)) == [2, 3, 3, 3]


def test_what_is_not_read_is_least_alike(dense_folder):
    model = open_text_model(f"dense:{dense_folder}")  # reads 18 tokens and two special ones
    documents = texts()
    found = segment_bias(model, documents, np.arange(4), segments=2)
    assert (found.documents, found.too_short, found.truncated) == (3, 1, 3)
    first, second = found.cosines
    assert first.mean > second.mean
    assert first.mean > 0.99  # the first segment is what is read of the whole, and two words more
    assert found.slope.mean == pytest.approx(second.mean - first.mean)
    assert found.to_dict() == segment_bias(model, documents, np.arange(4), segments=2).to_dict()
    table = segment_table(found).render("text")
    assert "3 of the documents are longer than the model reads" in table
    assert "Left out: 1 documents" in table
    assert segment_chart(found).startswith("<svg")


def test_words_are_kept_from_the_beginning(dense_folder):
    found = segment_bias(open_text_model(f"dense:{dense_folder}"), texts(), np.arange(3), segments=2, words=10)
    assert (found.truncated, found.words) == (0, 10)


def test_what_is_refused(dense_folder, bag):
    model = open_text_model(f"dense:{dense_folder}")
    with pytest.raises(UsageError, match="makes no vector"):
        segment_bias(bag(), texts(), np.arange(3))
    with pytest.raises(UsageError, match="segments=1"):
        segment_bias(model, texts(), np.arange(3), segments=1)
    with pytest.raises(DataError, match="0 of 4 documents have 50 words"):
        segment_bias(model, texts(), np.arange(4), segments=50)
