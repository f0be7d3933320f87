"""`tamis quality`, `tamis prune` and `tamis restore`, one after another on a copy of the tiny index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tamis.cli.prune import parse_levels, parse_size
from tamis.engine import Index
from tamis.errors import UsageError


@pytest.fixture
def folder(built, tmp_path: Path) -> Path:
    return shutil.copytree(built.index, tmp_path / "ix")


def test_quality(folder, tamis):
    listed = tamis("quality", folder)
    assert (listed.code, "qualt5" in listed.out) == (0, True)
    done = tamis("quality", folder, "length", "--json").envelope
    assert done["results"]["part"] == "quality:length"
    assert done["results"]["quantiles"]["100"] == 12
    assert (done["metrics"]["rows"], done["metrics"]["blank"], done["resolved"]["generation"]) == (4, 0, 2)
    again = tamis("quality", folder, "length")
    assert "already (generation 2)" in again.err
    assert "quality:length: quality" in tamis("inspect", folder).out
    assert tamis("quality", folder, "lenght").code == 2
    assert tamis("quality", folder / "none", "length").code == 4


def test_prune_then_add_then_restore(built, folder, tmp_path, tamis):
    small = tmp_path / "small"
    done = tamis("prune", folder, "-o", small, "--quality", "length", "--drop", 0.5, "--json")
    assert done.code == 0
    metrics = done.envelope["metrics"]
    assert (metrics["dropped"], metrics["rows"]) == (2, 2)
    assert metrics["bytes"]["total"] < metrics["bytes_before"]["total"]
    with Index.open(folder) as whole:
        assert len(whole) == 4
    assert "2 rows; 2 documents are kept out" in tamis("inspect", small).out
    listed = tamis("restore", small, "--list")
    assert listed.out == "cat\nrank\n"
    added = tamis("add", small, built.corpus, "--json").envelope
    assert added["metrics"]["blocked"] == 2
    unknown = tamis("restore", small, "sieve", "unicorn", "--json").envelope
    assert (unknown["metrics"]["restored"], unknown["metrics"]["unknown_ids"]) == (0, 2)
    back = tamis("restore", small, "cat", "--from", folder, "--json").envelope
    assert (back["metrics"]["restored"], back["metrics"]["added"]) == (1, 1)
    with Index.open(small) as index:
        assert len(index) == 3
        assert index.document("cat").metadata["year"] == 2020
    rest = tamis("restore", small)
    assert "1 documents are let in, 0 of them added" in rest.err
    assert tamis("restore", small, "--list").out == ""
    assert tamis("verify", small).code == 0


def test_other_ways_to_say_what_goes(folder, tmp_path, tamis):
    listed = tmp_path / "ids.txt"
    listed.write_text("cat\nsoup\n", "utf-8")
    tamis("prune", folder, "-o", tmp_path / "a", "--rows", listed)
    with Index.open(tmp_path / "a") as index:
        assert len(index) == 2
    done = tamis(
        "prune", folder, "-o", tmp_path / "b", "--quality", "length", "--below", 8, "--keep-list", listed, "--json"
    )
    assert done.envelope["metrics"]["dropped"] == 0
    assert done.envelope["warnings"][0]["code"] == "nothing-dropped"
    tamis("prune", folder, "-o", tmp_path / "c", "--quality", "length", "--target-size", "1MB")
    size = json.loads(tamis("inspect", folder, "--json").out)["results"]["bytes"]["total"]
    assert not (tmp_path / "c").exists()  # it is smaller than that already
    done = tamis("prune", folder, "-o", tmp_path / "c", "--quality", "length", "--target-size", size - 100, "--json")
    assert done.envelope["metrics"]["bytes"]["total"] <= size - 100


def test_single_postings(folder, tmp_path, tamis):
    done = tamis("prune", folder, "-o", tmp_path / "p", "--postings", "kl?share=0.5", "--json").envelope
    assert 0.4 < done["metrics"]["postings_kept"] < 0.7
    assert tamis("search", tmp_path / "p", "sieve").code == 0
    refused = tamis("prune", folder, "-o", tmp_path / "q", "--postings", "camel")
    assert (refused.code, "carmel" in refused.err) == (2, True)


def test_certify_then_prune_by_it(built, folder, tmp_path, tamis):
    qrels = tmp_path / "qrels.txt"
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join(f"t{i}\tdrum sieve\n" for i in range(8)), "utf-8")
    qrels.write_text("".join(f"t{i} 0 sieve 1\n" for i in range(8)), "utf-8")
    certificate = tmp_path / "length.json"
    asked = ["--quality", "length", "--certify", certificate, "--topics", topics, "--qrels", qrels]
    done = tamis("prune", folder, *asked, "--levels", "0.25,0.5", "--pipeline", "bm25", "--pipeline", "ql", "--json")
    assert done.code == 0, done.err
    assert done.envelope["results"] == {"certified": 0.5, "chosen": 0.5}
    assert set(done.envelope["artifacts"]) == {"certificate", "report", "curve"}
    assert (
        certificate.with_suffix(".md")
        .read_text("utf-8")
        .startswith("# Pruning certificate\n\n**50 % of the rows can go.**")
    )
    assert certificate.with_suffix(".svg").read_text("utf-8").startswith("<svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ix",
        "length.json",
        "length.md",
        "length.svg",
        "qrels.txt",
        "topics.tsv",
    ]
    done = tamis("prune", folder, "-o", tmp_path / "small", "--certificate", certificate)
    assert (done.code, "2 of 4 rows dropped" in done.err) == (0, True)
    refused = tamis("prune", folder, "-o", tmp_path / "x", "--certificate", certificate, "--quality", "itn")
    assert (refused.code, "is of the quality model length" in refused.err) == (2, True)
    listed = tmp_path / "keep.txt"
    listed.write_text("cat\n", "utf-8")
    for other, said in (
        (["--keep-list", listed], "--keep-list of 0 ids"),
        (["--keep-last-passage"], "without --keep-last"),
    ):
        refused = tamis("prune", folder, "-o", tmp_path / "x", "--certificate", certificate, *other)
        assert (refused.code, said in refused.err, (tmp_path / "x").exists()) == (2, True, False)
    tamis("delete", folder, "cat")
    refused = tamis("prune", folder, "-o", tmp_path / "x", "--certificate", certificate)
    assert (refused.code, "made for the documents of generation 1" in refused.err) == (5, True)
    assert tamis("prune", folder, *asked, "-o", tmp_path / "both", "--levels", "0.3").code == 0
    with Index.open(tmp_path / "both") as index:
        assert len(index) == 3


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["-o", "OUT", "--quality", "itn"], 2, "none was given"),
        (["-o", "OUT", "--quality", "itn", "--drop", "0.3", "--below", "1"], 2, "not --drop and --below"),
        (["--quality", "itn", "--drop", "0.3"], 2, "with -o"),
        (["-o", "OUT", "--drop", "0.3"], 2, "--quality"),
        (["-o", "OUT", "--quality", "itn", "--drop", "30"], 2, "0.3 drops 30 %"),
        (["-o", "OUT", "--quality", "itn", "--below", "9"], 2, "would drop all 4 rows"),
        (["-o", "OUT", "--quality", "itm", "--drop", "0.3"], 2, "did you mean 'itn'"),
        (["-o", "OUT", "--quality", "itn", "--drop", "0.3", "--keep-last-passage"], 2, "the last of its document"),
        (["-o", "INDEX", "--quality", "itn", "--drop", "0.3"], 2, "is an index already"),
        (["-o", "OUT", "--rows", "none.txt"], 4, "none.txt"),
        (["-o", "OUT", "--certificate", "none.json"], 4, "none.json"),
        (["--quality", "itn", "--certify", "OUT"], 2, "--topics and --qrels"),
    ],
)
def test_what_cannot_be_meant(built, folder, tmp_path, tamis, options, code, said):
    places = {"OUT": str(tmp_path / "out"), "INDEX": str(folder)}
    refused = tamis("prune", folder, *[places.get(option, option) for option in options])
    assert (refused.code, said in refused.err) == (code, True), refused.err
    assert not (tmp_path / "out").exists()


def test_no_topic_has_judgements(built, folder, tmp_path, tamis):
    asked = ["--quality", "itn", "--certify", tmp_path / "c.json", "--topics", built.topics]
    (tmp_path / "other.txt").write_text("x 0 sieve 1\n", "utf-8")
    refused = tamis("prune", folder, *asked, "--qrels", tmp_path / "other.txt")
    assert (refused.code, "none of the 3 topics has judgements" in refused.err) == (5, True)
    refused = tamis("prune", folder, *asked, "--qrels", built.qrels)
    assert (refused.code, "3 of the topics have judgements" in refused.err) == (2, True)
    (tmp_path / "four.txt").write_text("".join(f"q{i} 0 sieve 1\n" for i in range(1, 5)), "utf-8")
    (tmp_path / "four.tsv").write_text("".join(f"q{i}\tsieve\n" for i in range(1, 5)), "utf-8")
    asked = [*asked[:-1], tmp_path / "four.tsv", "--qrels", tmp_path / "four.txt"]
    for option, value, code in [
        ("--bound", "x", 2),
        ("--alpha", "0.7", 2),
        ("--correction", "hlm", 2),
        ("--levels", "0.2,0.1", 2),
        ("--watts", "0", 2),
        ("--seed", "-1", 2),
        ("--measure", "NumRet", 2),
        ("--pipeline", "bm26", 2),
        ("--pipeline", "dense:minilm", 4),
    ]:
        refused = tamis("prune", folder, *asked, option, value)
        assert refused.code == code, (option, refused.err)
    with Index.open(folder) as index:
        assert index.generation == 1  # nothing was scored before the mistake was found


def test_sizes_and_levels():
    assert [parse_size(text) for text in ("1GB", "2 KiB", "12", "1.5mb")] == [10**9, 2048, 12, 1_500_000]
    for text in ("", "GB", "1XB", "-1MB", "nan"):
        with pytest.raises(UsageError, match="size"):
            parse_size(text)
    assert parse_levels("0.1, 0.2") == [0.1, 0.2]
    with pytest.raises(UsageError, match="levels"):
        parse_levels("0.1;0.2")
