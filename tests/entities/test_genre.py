"""Constrained writing: the trie by hand and against a scan, and a random BART and T5 whose beams are checked title by title."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.entities.genre import TitleTrie
from tamis.entities.linking import Mention, open_linker
from tamis.entities.vocabulary import Entity, EntityVocabulary

TITLES = ["drum", "drum sieve", "fine soup", "finer", "drum"]


def test_the_trie_of_two() -> None:
    trie = TitleTrie([((0, 5, 2), 0), ((0, 5, 6, 2), 1)])
    assert trie.following([0]) == [5]
    assert trie.following([0, 5]) == [2, 6]
    assert trie.following([0, 7]) == []
    assert trie.following([0, 5, 2]) == []
    assert trie.numbers([0, 5, 6, 2]) == [1]
    assert trie.numbers([0, 5]) == []
    assert trie.longest == 4


sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple), max_size=12)


@given(sequences, st.lists(st.integers(0, 3), max_size=4))
def test_the_trie_is_a_scan(given_: list[tuple[int, ...]], prefix: list[int]) -> None:
    trie, n = TitleTrie([(one, i) for i, one in enumerate(given_)]), len(prefix)
    assert trie.following(prefix) == sorted({s[n] for s in given_ if list(s[:n]) == prefix and len(s) > n})
    assert sorted(trie.numbers(prefix)) == [i for i, s in enumerate(given_) if list(s) == prefix]


@pytest.fixture(scope="module", params=["bart", "t5"])
def writer(tmp_path_factory: pytest.TempPathFactory, tiny, request: pytest.FixtureRequest) -> Path:
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig, T5Config

    source = tiny(tmp_path_factory.mktemp("genre") / "words")
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.add_special_tokens({"bos_token": "[CLS]", "eos_token": "[SEP]"})
    special = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.cls_token_id}
    end = tokenizer.sep_token_id
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        eos_token_id=end,
        decoder_start_token_id=end,
        forced_eos_token_id=None,
        init_std=0.5,
        **special,
    )
    small = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "initializer_factor": 3.0}
    pad = tokenizer.pad_token_id
    other = T5Config(vocab_size=len(tokenizer), pad_token_id=pad, eos_token_id=end, decoder_start_token_id=pad, **small)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("genre") / "model"
    AutoModelForSeq2SeqLM.from_config(config if request.param == "bart" else other).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def mean_log_probability(writer: Path, text: str, title: str) -> float:
    """Of the title, token by token, in one pass."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(writer).eval(), AutoTokenizer.from_pretrained(writer)
    ids = tokenizer(title)["input_ids"]
    start = model.config.decoder_start_token_id
    with torch.inference_mode():
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        logits = model(**inputs, decoder_input_ids=torch.tensor([[start, *ids[:-1]]])).logits[0]
    return float(torch.log_softmax(logits, -1)[range(len(ids)), ids].mean())


@pytest.mark.parametrize("beams", [1, 4])
def test_only_titles_are_written(writer: Path, tmp_path: Path, beams: int) -> None:
    popular = [Entity(f"e{i}", title, popularity=1.0 + i) for i, title in enumerate(TITLES)]
    vocabulary = EntityVocabulary.build(popular, tmp_path / "v")
    linker = open_linker(f"genre:{writer}?beams={beams}&device=cpu", vocabulary)
    mention = Mention("the drum of the cook", (4, 8))
    texts = [Mention("the cook pass soup"), mention, Mention("a potato")]
    found = linker.link(texts)
    written = ["the cook pass soup", "the [START_ENT] drum [END_ENT] of the cook", "a potato"]
    for text, own in zip(written, found, strict=True):
        scores = {title: mean_log_probability(writer, text, title) for title in TITLES}
        assert len({TITLES[one.entity] for one in own}) == beams
        if beams == 4:  # as many as there are titles: all of them, in order
            best = sorted(range(5), key=lambda i: (-scores[TITLES[i]], -i))  # the more popular drum first
            assert [one.entity for one in own] == best
        for one in own:
            assert one.score == pytest.approx(scores[TITLES[one.entity]], abs=1e-4)
    assert {one.span for one in found[1]} == {(4, 8)}
