"""Lengths in a model's own tokens: those of its tokenizer, though only what it reads is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.encoders.batching import Inputs
from tamis.errors import UsageError
from tamis.eval.diagnosis.lengths import cut_pairs, cut_texts, reader_of
from tamis.eval.diagnosis.models import open_text_model

TEXTS = ["", "a", "drum sieve " * 3, "finer soup, of potato! " * 20, "x" * 70, "unknownword " * 9, "é 汤 soup"]


def test_an_encoders_texts(dense_folder):
    model = open_text_model(f"dense:{dense_folder}")
    reader = reader_of(model)
    assert reader.pairs is None
    tokenizer = model.network().query_format.tokenizer
    whole = np.array([len(ids) + 2 for ids in tokenizer.bare(TEXTS)])
    for read in (reader.documents, reader.queries):
        found = cut_texts(read, TEXTS)
        assert found.read.tolist() == np.minimum(whole, 20).tolist()
        assert (found.read + found.lost).tolist() == whole.tolist()
        assert found.cut.tolist() == (whole > 20).tolist()
        assert int(found.cut.sum()) == read(TEXTS).truncated


def test_nothing_cut(dense_folder):
    found = cut_texts(reader_of(open_text_model(f"dense:{dense_folder}")).documents, TEXTS[:3])
    assert (found.lost.tolist(), found.cut.any()) == ([0, 0, 0], False)


@pytest.mark.parametrize("kind", ["cross", "monot5"])
def test_a_rerankers_pairs(kind, cross_folder, t5_folder):
    address = f"cross:{cross_folder}" if kind == "cross" else f"monot5:{t5_folder}?max_length=48"
    model = open_text_model(address)
    reader = reader_of(model)
    assert reader.documents is None
    texts = TEXTS[1:4]
    queries = [query for query in ("drum", "drum sieve " * 40) for _ in texts]
    pairs = texts * 2
    found = cut_pairs(reader.pairs, queries, pairs)
    assert int(found.cut.sum()) == reader.pairs(queries, pairs).truncated
    tokenizer = model.network().tokenizer
    around = len(reader.pairs(["a"], ["a"]).ids[0]) - 2 * len(tokenizer.bare(["a"])[0])
    whole = [len(a) + len(b) + around for a, b in zip(tokenizer.bare(queries), tokenizer.bare(pairs), strict=True)]
    assert (found.read + found.lost).tolist() == whole


def test_inputs_that_are_filled():
    """As ColBERT's queries: lengths say nothing, but what is cut is known."""

    def read(texts):
        ids = [[1] * 8 for _ in texts]
        return Inputs(ids, truncated=sum(len(text.split()) > 8 for text in texts))

    found = cut_texts(read, ["a", "a " * 9, "a " * 8, "a " * 30, "b"])
    assert found.lost is None
    assert found.cut.tolist() == [False, True, False, True, False]


def test_models_that_do_not_say(bag, in_order):
    for model in (bag(), in_order()):
        with pytest.raises(UsageError, match="does not say how it cuts"):
            reader_of(model)
