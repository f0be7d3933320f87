"""Tokenising: special tokens, cuts that are counted, pairs, and a tokenizer that is nobody's state."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tamis.encoders.text import TextFormat, Tokenizer
from tamis.errors import ModelError

Save = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Save) -> Path:
    return tiny(tmp_path_factory.mktemp("text") / "model")


def words(tokenizer: Tokenizer, ids: list[int]) -> str:
    return " ".join(tokenizer.raw.id_to_token(number) for number in ids)


def test_texts_are_cut_and_counted(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    found = tokenizer.texts(["drum sieve", "the cook pass soup", "", "a"], 5)
    assert [words(tokenizer, list(ids)) for ids in found.ids] == [
        "[CLS] drum sieve [SEP]",
        "[CLS] the cook pass [SEP]",
        "[CLS] [SEP]",
        "[CLS] a [SEP]",
    ]
    assert (found.truncated, found.types, found.attended) == (1, None, None)
    exact = tokenizer.texts(["the cook pass"], 5)
    assert exact.truncated == 0  # just as long as may be
    assert tokenizer.texts(["drum"], 9, type_id=1).types == [[1, 1, 1]]


def test_a_cut_does_not_stay_with_the_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    tokenizer.texts(["the cook"], 3)
    assert words(tokenizer, tokenizer.bare(["the cook pass soup"])[0]) == "the cook pass soup"


def test_pairs_are_cut_where_they_are_longer(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    found = tokenizer.pairs([("drum", "the cook pass soup through"), ("drum", ""), ("", "soup"), ("", "")], 7)
    assert [words(tokenizer, list(ids)) for ids in found.ids] == [
        "[CLS] drum [SEP] the cook pass [SEP]",
        "[CLS] drum [SEP]",
        "[CLS] soup [SEP]",
        "[CLS] [SEP]",
    ]
    assert found.types is not None
    assert list(found.types[0]) == [0, 0, 0, 1, 1, 1, 1]
    assert list(found.types[2]) == [0, 0, 0]
    assert found.truncated == 1


def test_ids_of_tokens(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    assert (tokenizer.id_of("[PAD]"), tokenizer.id_of("[MASK]"), tokenizer.pad) == (0, 4, 0)
    with pytest.raises(ModelError, match=r"\[unused7\]"):
        tokenizer.id_of("[unused7]")


def test_what_a_checkpoint_cuts_by_itself_is_undone(folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Raw

    raw = Raw.from_file(str(folder / "tokenizer.json"))
    raw.enable_truncation(3)
    raw.enable_padding(length=20)
    raw.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path)
    assert words(tokenizer, tokenizer.bare(["the cook pass soup"])[0]) == "the cook pass soup"


def test_a_vocabulary_alone_serves(tmp_path: Path) -> None:
    """Checkpoints from before tokenizer.json; what it was read from can be written again."""
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "drum", "##s"]))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (tmp_path / "config.json").write_text('{"model_type": "bert", "pad_token_id": 0}')
    tokenizer = Tokenizer(tmp_path)
    assert words(tokenizer, list(tokenizer.texts(["Drums"], 9).ids[0])) == "[CLS] drum ##s [SEP]"
    (tmp_path / "scratch").mkdir()
    written = tokenizer.source(tmp_path / "scratch")
    assert written.parent == tmp_path / "scratch"
    written.rename(tmp_path / "scratch" / "tokenizer.json")
    assert Tokenizer(tmp_path / "scratch").bare(["drums"]) == tokenizer.bare(["drums"])


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="no tokenizer"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged"):
        Tokenizer(tmp_path)


def test_threads_do_not_cut_each_other_s_texts(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    wrong: list[int] = []

    def work(length: int) -> None:
        for _ in range(100):
            wrong.extend(
                len(ids)
                for ids in tokenizer.texts(["the cook pass soup through"] * 3, length).ids
                if len(ids) != length
            )

    threads = [threading.Thread(target=work, args=(length,)) for length in (3, 4, 5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_format_says_how_a_text_is_written(folder: Path) -> None:
    tokenizer = Tokenizer(folder)
    how = TextFormat(tokenizer, 6, "the ", lower=True)
    found = how.inputs(["  Drum sieve\n", "SOUP is what the cook is"])
    assert [words(tokenizer, list(ids)) for ids in found.ids] == [
        "[CLS] the drum sieve [SEP]",
        "[CLS] the soup is what [SEP]",
    ]
    assert found.truncated == 1
    assert TextFormat(tokenizer, **how.to_json()) == how
