"""Prompts: the tokens of the whole, and what is cut when it is too long."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.encoders.text import Tokenizer
from tamis.errors import ModelError
from tamis.rerankers.duot5 import TEMPLATE as DUO
from tamis.rerankers.monot5 import TEMPLATE as MONO
from tamis.rerankers.templates import LEAST, Template

LONG = "the cook pass potato soup through a finer sieve of butter, milk and 12 fine rank of a query term " * 4
texts = st.text(st.sampled_from("a drum SIEVE\u00e9\t\n.,12😀{}"), max_size=40)


@pytest.fixture(scope="module")
def tokenizer(t5_folder: Path) -> Tokenizer:
    return Tokenizer(t5_folder)


def test_the_templates_are_those_that_the_checkpoints_were_trained_with() -> None:
    assert MONO == "Query: {query} Document: {document} Relevant:"
    assert DUO == "Query: {query} Document0: {document0} Document1: {document1} Relevant:"


@given(query=texts, first=texts, second=texts)
def test_tokens_are_those_of_the_whole(tokenizer: Tokenizer, query: str, first: str, second: str) -> None:
    for text in (MONO, DUO):
        fields = {"query": query, "document": first, "document0": first, "document1": second}
        found = Template(text, tokenizer, 512).inputs({name: [value] for name, value in fields.items()})
        assert found.ids == [tokenizer.raw.encode(text.format(**fields)).ids]
        assert found.truncated == 0


def test_a_folder_may_hold_sentencepieces_own_file_only(tmp_path: Path) -> None:
    """As castorini's do; the tokens are SentencePiece's own of the whole prompt."""
    pieces = pytest.importorskip("sentencepiece")
    lines = [" ".join([*("Query: Document: Relevant: " + LONG).split()[i % 7 :]]) for i in range(200)]
    (tmp_path / "texts").write_text("\n".join(lines))
    pieces.SentencePieceTrainer.train(
        input=str(tmp_path / "texts"),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=100,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (tmp_path / "config.json").write_text('{"model_type": "t5", "pad_token_id": 0}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    template = Template(MONO, Tokenizer(tmp_path), 512)
    own = pieces.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    for query, document in (
        ("what is a drum", "the  cook passé ﬁne 12\n\tsoup."),
        ("", LONG),
        ("soup", ""),
        (" a ", " "),
    ):
        (ids,) = template.inputs({"query": [query], "document": [document]}).ids
        assert list(ids) == [*own.encode(MONO.format(query=query, document=document)), 1]


def test_there_is_no_space_at_the_end(tokenizer: Tokenizer) -> None:
    (ids,) = Template(MONO, tokenizer, 512).inputs({"query": ["drum"], "document": ["soup"]}).ids
    tokens = [tokenizer.raw.id_to_token(i) for i in ids]
    assert tokens == ["▁Query", ":", "▁drum", "▁Document", ":", "▁soup", "▁Relevant", ":", "</s>"]


def parts(tokenizer: Tokenizer, ids: list[int], *words: str) -> list[int]:
    """How many tokens stand between fixed words of a prompt, each with its colon."""
    places = [ids.index(tokenizer.id_of(word)) for word in words]
    return [second - first - 2 for first, second in pairwise(places)]


def test_the_document_is_cut_and_never_what_asks(tokenizer: Tokenizer) -> None:
    template = Template(MONO, tokenizer, 64)
    query = "what is a drum sieve"
    found = template.inputs({"query": [query, query, "soup"], "document": [LONG, "soup", LONG]})
    assert found.truncated == 2
    assert [len(ids) for ids in found.ids] == [64, 5 + 1 + 7, 64]
    for ids, words in zip(found.ids, (5, 5, 1), strict=True):
        assert ids[-3:] == [tokenizer.id_of("▁Relevant"), tokenizer.id_of(":"), 1]
        assert parts(tokenizer, list(ids), "▁Query", "▁Document")[0] == words
    whole = tokenizer.bare([LONG])[0]
    assert list(found.ids[0][9:-3]) == whole[:52]


def test_a_query_leaves_the_document_something(tokenizer: Tokenizer) -> None:
    for length, least in ((64, 28), (512, LEAST)):
        (ids,) = Template(MONO, tokenizer, length).inputs({"query": [LONG * 20], "document": [LONG * 20]}).ids
        assert len(ids) == length
        assert parts(tokenizer, list(ids), "▁Query", "▁Document", "▁Relevant")[1] == least
    (ids,) = Template(MONO, tokenizer, 64).inputs({"query": [LONG], "document": ["soup"]}).ids
    assert parts(tokenizer, list(ids), "▁Query", "▁Document", "▁Relevant") == [56, 1]


def test_pygaggles_way_is_to_cut_the_end(tokenizer: Tokenizer, t5_folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(t5_folder)
    template = Template(MONO, tokenizer, 40, cut_end=True)
    pairs = [("what is a drum", LONG), (LONG, "soup"), ("soup", "milk")]
    found = template.inputs({"query": [query for query, _ in pairs], "document": [text for _, text in pairs]})
    prompts = [MONO.format(query=query, document=text) for query, text in pairs]
    assert [list(ids) for ids in found.ids] == theirs(prompts, truncation=True, max_length=40).input_ids
    assert found.truncated == 2


def test_two_documents_share_the_room(tokenizer: Tokenizer) -> None:
    template = Template(DUO, tokenizer, 65)
    asked = [("soup", LONG, LONG), ("soup", LONG, "soup"), ("soup", "soup", LONG)]
    columns = dict(zip(("query", "document0", "document1"), map(list, zip(*asked, strict=True)), strict=True))
    found = template.inputs(columns)
    assert found.truncated == 3
    fixed = len(Template(DUO, tokenizer, 512).inputs({"query": [""], "document0": [""], "document1": [""]}).ids[0])
    room = 65 - fixed - 1
    one = tokenizer.bare([LONG])[0]
    sizes = [(room - room // 2, room // 2), (room - 1, 1), (1, room - 1)]
    mark = tokenizer.bare(["Document1:"])[0]
    for ids, (first, second) in zip(found.ids, sizes, strict=True):
        assert len(ids) == 65
        at = next(i for i in range(len(ids)) if list(ids[i : i + len(mark)]) == mark)
        kept = list(ids[at + len(mark) : -3])
        assert len(kept) == second or len(kept) == first  # the odd token may go to either
        assert kept == (one[: len(kept)] if len(kept) > 1 else tokenizer.bare(["soup"])[0])


def test_no_room_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelError, match="max_length=8"):
        Template(MONO, tokenizer, 8)


def test_a_tokenizer_that_joins_words_is_refused(tokenizer: Tokenizer, t5_folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Raw
    from tokenizers import models, pre_tokenizers, trainers

    raw = Raw(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    raw.train_from_iterator(
        ["Query: a drum sieve Document: a drum sieve Relevant:"] * 9,
        trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>"]),
    )
    raw.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="joins words"):
        Template(MONO, Tokenizer(tmp_path), 512)
