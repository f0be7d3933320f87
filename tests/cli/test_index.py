from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tamis.engine import Index


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    lines = [
        {"_id": "a", "title": "One", "text": "first words"},
        {"_id": "b", "text": ""},
        {"_id": "a", "text": "again"},
        {"_id": "c", "text": "third words", "lang": "en"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    return path


def test_the_report_counts_everything(corpus, tmp_path, tamis):
    done = tamis("index", corpus, "-o", tmp_path / "ix", "--on-bad-line", "skip", "--filterable", "lang", "--json")
    assert done.code == 0
    metrics = done.envelope["metrics"]
    assert {name: metrics[name] for name in ("documents", "rows", "empty", "duplicates", "skipped_lines")} == {
        "documents": 3,
        "rows": 3,
        "empty": 1,
        "duplicates": 1,
        "skipped_lines": 1,
    }
    assert metrics["duplicate_ids"] == ["a"]
    assert f"{corpus}:5" in metrics["skipped_examples"][0]
    assert metrics["bytes"] > 0
    assert metrics["documents_per_second"] > 0
    assert {warning["code"] for warning in done.envelope["warnings"]} == {"duplicate-ids", "skipped-lines"}
    assert done.envelope["artifacts"] == {"index": str(tmp_path / "ix")}


def test_data_go_nowhere_and_the_last_line_says_what_next(built, tmp_path, tamis):
    done = tamis("index", built.corpus, "-o", tmp_path / "ix", "--passages", "tokens:5/3", "--fields", "title^2,body")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[-1] == f'next: tamis search {tmp_path / "ix"} "your query"'
    with Index.open(tmp_path / "ix") as index:
        assert len(index) > 4
        assert index.manifest.settings.fields == (("title", 2.0), ("body", 1.0))
        assert index.manifest.settings.passages == "tokens:5/3"


def test_the_same_command_again_does_nothing(built, tamis):
    newest = Path(built.index, "manifests", "000000000001.json")
    before = newest.read_bytes()
    again = tamis("index", built.corpus, "-o", built.index, "--filterable", "year")
    assert again.code == 0
    assert "already" in again.err
    assert max(newest.parent.iterdir()) == newest
    assert newest.read_bytes() == before


def test_another_corpus_or_other_settings_are_refused(built, corpus, tamis):
    for args in (
        [corpus, "--filterable", "year", "--on-bad-line", "skip"],
        [built.corpus],
        [built.corpus, "--filterable", "year", "--analyzer", "whitespace"],
    ):
        refused = tamis("index", *args, "-o", built.index)
        assert refused.code == 2, args
        assert "--force" in refused.err
    with Index.open(built.index) as index:
        assert len(index) == 4


def test_an_index_that_was_added_to_is_refused(built, corpus, tmp_path, tamis):
    folder = shutil.copytree(built.index, tmp_path / "ix")
    assert tamis("delete", folder, "cat").code == 0
    assert tamis("index", built.corpus, "-o", folder, "--filterable", "year").code == 2


def test_force_replaces_an_index_but_nothing_else(built, corpus, tmp_path, tamis):
    folder = shutil.copytree(built.index, tmp_path / "ix")
    assert tamis("index", corpus, "-o", folder, "--on-bad-line", "skip", "--force").code == 0
    with Index.open(folder) as index:
        assert len(index) == 3
    other = tmp_path / "precious"
    other.mkdir()
    (other / "letter.txt").write_text("keep me")
    for path in (other, other / "letter.txt"):
        for force in ([], ["--force"]):
            assert tamis("index", built.corpus, "-o", path, *force).code == 2
    assert (other / "letter.txt").read_text() == "keep me"


def test_a_job_that_failed_goes_on_once_its_input_is_mended(corpus, tmp_path, tamis):
    failed = tamis("index", corpus, "-o", tmp_path / "ix")
    assert failed.code == 5
    assert f"{corpus}:5: " in failed.err
    assert tamis("search", tmp_path / "ix", "words").code == 4
    corpus.write_text(corpus.read_text().replace("{broken\n", ""))
    mended = tamis("index", corpus, "-o", tmp_path / "ix")
    assert mended.code == 0
    assert "going on where it stopped" in mended.err


@pytest.mark.parametrize("name", ["id_field", "passages", "fields", "analyzer", "on_bad_line", "threads"])
def test_bad_settings_leave_nothing_behind(name, built, tmp_path, tamis):
    options = {
        "id_field": ["--id-field", "nope"],
        "passages": ["--passages", "words:3"],
        "fields": ["--fields", "title^x"],
        "analyzer": ["--analyzer", "englich"],
        "on_bad_line": ["--on-bad-line", "skpi"],
        "threads": ["--threads", "0"],
    }
    refused = tamis("index", built.corpus, "-o", tmp_path / "ix", *options[name])
    assert refused.code == (5 if name == "id_field" else 2)
    if name != "id_field" and name != "threads":
        assert not (tmp_path / "ix").exists()


def _start(corpus: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tamis.cli", "index", str(corpus), "-o", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell without job control starts its background jobs deaf to SIGINT, and this would be inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.slow
def test_ctrl_c_leaves_a_state_that_the_same_command_completes(tmp_path, tamis):
    words = [f"w{i}" for i in range(997)]
    corpus = tmp_path / "large.jsonl"
    with corpus.open("w") as handle:
        for i in range(60_000):  # more than one chunk
            text = " ".join(words[(i * step) % 997] for step in (1, 3, 7, 31, 97))
            handle.write(f'{{"_id":"d{i}","text":"{text}"}}\n')
    folder = tmp_path / "ix"
    running = _start(corpus, folder)
    deadline = time.monotonic() + 60
    while not list(folder.glob("work/*/receipts/documents-*.json")):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert "stopping" in err
    assert err.splitlines()[-1] == "error: interrupted: run the same command again to resume"

    resumed = tamis("index", corpus, "-o", folder)
    assert resumed.code == 0
    assert "going on where it stopped" in resumed.err
    assert tamis("verify", folder).code == 0
    assert tamis("index", corpus, "-o", tmp_path / "undisturbed").code == 0
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join(f"q{i}\tw{i} w{3 * i} w{7 * i}\n" for i in range(20)))
    runs = [tamis("search", at, "--topics", topics, "-k", 50) for at in (folder, tmp_path / "undisturbed")]
    assert runs[0].out.count("\n") == 1000
    assert runs[0].out == runs[1].out


def test_force_keeps_the_old_index_until_the_new_one_stands(built, corpus, tmp_path, tamis):
    folder = shutil.copytree(built.index, tmp_path / "ix")
    assert tamis("index", corpus, "-o", folder, "--force").code == 5  # a broken line
    with Index.open(folder) as index:
        assert len(index) == 4
    assert tamis("index", corpus, "-o", folder, "--force", "--on-bad-line", "skip").code == 0
    with Index.open(folder) as index:
        assert len(index) == 3
    assert sorted(path.name for path in tmp_path.iterdir() if "ix" in path.name) == ["ix"]
