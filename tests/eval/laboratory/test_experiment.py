from __future__ import annotations

from pathlib import Path

import pytest

from tamis.errors import DataError, MissingResourceError, TamisError, UnknownNameError, UsageError
from tamis.eval.laboratory.experiment import CostRules, read_experiment

WHOLE = """
name = "first"
measures = ["ndcg_cut_10", "R@100"]
k = 50
baseline = "b"
[collections.one]
index = "ix"
topics = "t.tsv"
filter = 'year > 1990'
profile = "dl19"
[collections.two]
index = "/elsewhere/ix"
topics = "beir/scifact/test"
qrels = "q.txt"
[systems]
a = "bm25 % 100"
b = "rrf(bm25, ql)"
[cost]
topics = 3
rounds = 2
seed = 7
"""
PLAIN = '[collections.c]\nindex = "i"\ntopics = "t"\n[systems]\na = "bm25"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "an experiment.toml"
    path.write_text(text)
    return path


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("1\tx\n")
    found = read_experiment(write(tmp_path, WHOLE))
    assert (found.name, found.k, found.baseline) == ("first", 50, "b")
    assert [m.name for m in found.measures] == ["nDCG@10", "R@100"]
    assert found.systems == {"a": "bm25 % 100", "b": "rrf(bm25, ql)"}
    one, two = found.collections.values()
    assert (one.index, one.topics, one.qrels) == (f"{tmp_path}/ix", f"{tmp_path}/t.tsv", f"{tmp_path}/t.tsv")
    assert one.filter == "year > 1990"
    assert one.profile == "dl19"
    assert (two.index, two.topics, two.qrels) == ("/elsewhere/ix", "beir/scifact/test", "q.txt")
    assert found.cost == CostRules(3, 2, 7)


def test_defaults(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found = read_experiment(write(tmp_path, PLAIN.replace('"t"', '"folder#test"')))
    assert (found.name, found.k, found.baseline) == ("an experiment", 1000, "a")
    assert [m.name for m in found.measures] == ["nDCG@10", "R@100"]
    assert found.collections["c"].qrels == f"{tmp_path}/folder#test"
    assert found.cost.topics > 0


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("not toml", DataError, "is not TOML"),
        ("", UsageError, "there is no system"),
        ("[systems]\na = 'bm25'", UsageError, "there is no collection"),
        (PLAIN.replace("a =", "a = 3 #"), DataError, "systems.a must be a pipeline"),
        (PLAIN.replace('"bm25"', '"bm52"'), UnknownNameError, "system 'a'.*bm25"),
        (PLAIN.replace('"bm25"', '"bm25 %"'), UsageError, "system 'a'"),
        (PLAIN.replace('"bm25"', '"bm25?k9=1"'), UnknownNameError, "k9"),
        ("mesures = []\n" + PLAIN, UnknownNameError, "measures"),
        ("measures = ['nDGC@10']\n" + PLAIN, UnknownNameError, "nDCG"),
        ("measures = [1]\n" + PLAIN, DataError, "must be a text"),
        ("measures = []\n" + PLAIN, UsageError, "no measure"),
        ("k = 0\n" + PLAIN, UsageError, "k = 0"),
        ("k = true\n" + PLAIN, DataError, "whole number"),
        ("baseline = 'x'\n" + PLAIN, UnknownNameError, "baseline"),
        (PLAIN + "[cost]\ntopics = -1", UsageError, "cost.topics"),
        (PLAIN + "[cost]\nrounds = 0", UsageError, "cost.rounds"),
        (PLAIN + "[cost]\nround = 1", UnknownNameError, "rounds"),
        (PLAIN.replace('index = "i"', ""), UsageError, "lacks 'index'"),
        (PLAIN.replace('topics = "t"', ""), UsageError, "lacks 'topics'"),
        (PLAIN.replace('topics = "t"', 'topics = "t"\nfilter = "year >"'), UsageError, "year"),
        (PLAIN.replace('topics = "t"', 'topics = "t"\nprofile = "dl99"'), UnknownNameError, "dl99"),
        (PLAIN.replace("a =", '"../a" ='), UsageError, "'../a'"),
        (PLAIN.replace("a =", "a = 'ql'\nA ="), UsageError, "differ in case"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, kind: type[TamisError], message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(kind, match=message) as caught:
        read_experiment(path)
    assert "an experiment.toml" in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match="no experiment"):
        read_experiment(tmp_path / "none.toml")
