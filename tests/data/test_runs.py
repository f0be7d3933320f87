"""tamis.data.runs: what is written is what evaluators rank, and what is read back is what was written."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamis.data import read_run, read_runs, sidecar_path, write_run
from tamis.data.runs import lower_scores, run_name
from tamis.errors import BadRecordError, DataError, MissingResourceError, OutputExistsError, UsageError
from tamis.events import Event, Warned
from tamis.ranking import IdSpace, Ranking

SPACE = IdSpace(["a", "b", "c", "d"])
LIMIT = float(np.finfo(np.float32).max)
Lists = dict[str, list[tuple[str, float]]]


def ranking_of(lists: Lists, partial: Sequence[bool] | None = None) -> Ranking:
    space = IdSpace(document for hits in lists.values() for document, _ in hits)
    columns = ((space.rows([d for d, _ in hits]), [s for _, s in hits]) for hits in lists.values())
    return Ranking.from_lists(space, list(lists), columns, partial=partial)


def lists_of(ranking: Ranking) -> Lists:
    return {q: list(zip(ranking.space.ids(r), s.tolist(), strict=True)) for q, r, s in ranking.lists()}


def test_trec_lines(tmp_path: Path) -> None:
    ranking = ranking_of({"q": [("b", 1 / 3), ("a", 1 / 3), ("c", 0.1)], "p": [("é", -1e-9)]})
    write_run(ranking, tmp_path / "r", tag="x")
    assert (tmp_path / "r").read_text("utf-8").splitlines() == [
        "q Q0 b 1 0.3333333333333333 x",
        "q Q0 a 2 0.3333333 x",  # the float32 below float32(1/3), at its shortest
        "q Q0 c 3 0.1 x",
        "p Q0 é 1 -1e-09 x",
    ]


def test_a_run_of_ties_steps_down_float32_by_float32(tmp_path: Path) -> None:
    write_run(ranking_of({"q": [("d", 8.5), ("c", 8.5), ("b", 8.5), ("a", 8.499999999)]}), tmp_path / "r")
    written = [float(line.split()[4]) for line in (tmp_path / "r").read_text().splitlines()]
    step = np.spacing(np.float32(8.4))
    assert [np.float32(w) for w in written] == [np.float32(8.5 - i * float(step)) for i in range(4)]


@given(
    st.lists(
        st.floats(-1e38, 1e38) | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-24, 1e-45, 1e-60, -1e-60]), max_size=30
    )
)
def test_lowering_is_the_documented_rule(scores: list[float]) -> None:
    scores.sort(reverse=True)
    expected: list[np.float32] = []
    for score in scores:
        value = np.float32(score)
        if expected and not value < expected[-1]:
            value = np.nextafter(expected[-1], np.float32(-np.inf))
        expected.append(value)
    got = lower_scores(np.array(scores))
    assert got.dtype == np.float32
    assert got.tolist() == [float(value) for value in expected]


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda text: text.split() == [text] and text[0] != "\ufeff"
)
SCORES = st.floats(-1e38, 1e38) | st.sampled_from([0.0, -0.0, 1.5, 1.5000000000000002, 7.0, 1e-300])


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Lists, list[bool]]:
    lists: Lists = {}
    for query in draw(st.lists(IDS, min_size=1, max_size=5, unique=True)):
        documents = draw(st.lists(IDS, max_size=8, unique=True))
        scores = sorted(draw(st.lists(SCORES, min_size=len(documents), max_size=len(documents))), reverse=True)
        lists[query] = list(zip(documents, scores, strict=True))
    return lists, draw(st.lists(st.booleans(), min_size=len(lists), max_size=len(lists)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(drawn=rankings(), name=st.sampled_from(["r.run", "r.trec.gz"]))
def test_what_is_written_reads_back(tmp_path: Path, drawn: tuple[Lists, list[bool]], name: str) -> None:
    lists, partial = drawn
    path = tmp_path / name
    write_run(ranking_of(lists, partial), path, overwrite=True)
    back = read_run(path)
    assert back.query_ids == tuple(lists)
    assert lists_of(back) == lists
    signs = [math.copysign(1, score) for hits in lists.values() for _, score in hits]
    assert np.copysign(1, back.scores).tolist() == signs
    assert back.partial.tolist() == partial


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(drawn=rankings())
def test_any_evaluator_sees_the_same_order(tmp_path: Path, drawn: tuple[Lists, list[bool]]) -> None:
    lists, _ = drawn
    write_run(ranking_of(lists), tmp_path / "r", overwrite=True)
    read: Lists = {query: [] for query in lists}
    for line in (tmp_path / "r").read_text("utf-8").split("\n")[:-1]:
        query, q0, document, rank, score, tag = line.split()
        read[query].append((document, float(score)))
        assert (q0, int(rank), tag) == ("Q0", len(read[query]), "tamis")
    for query, hits in read.items():
        assert [document for document, _ in hits] == [document for document, _ in lists[query]]
        for kind in (np.float32, np.float64):
            assert (np.diff(np.array([score for _, score in hits], kind)) < 0).all()


def test_without_its_sidecar_a_run_keeps_order_and_unlowered_scores(tmp_path: Path) -> None:
    path = tmp_path / "r.run"
    write_run(ranking_of({"q": [("b", 2 / 3), ("a", 2 / 3), ("c", 0.25)], "none": []}), path)
    sidecar_path(path).unlink()
    back = lists_of(read_run(path))
    assert list(back) == ["q"]
    assert [document for document, _ in back["q"]] == ["b", "a", "c"]
    assert (back["q"][0][1], back["q"][2][1]) == (2 / 3, 0.25)
    assert back["q"][1][1] < 2 / 3


def test_a_sidecar_of_other_contents_is_reported_and_not_used(tmp_path: Path) -> None:
    path = tmp_path / "r.run"
    write_run(ranking_of({"q": [("a", 1.0), ("b", 1.0)], "none": []}), path)
    path.write_text("p Q0 z 1 3 t\n")
    events: list[Event] = []
    assert lists_of(read_run(path, listener=events.append)) == {"p": [("z", 3.0)]}
    (event,) = events
    assert isinstance(event, Warned)
    assert event.code == "sidecar-mismatch"
    assert "r.run.json belongs to another content of" in event.message


def test_a_damaged_count_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.run"
    write_run(ranking_of({"q": [("a", 1.0), ("b", 1.0)]}), path)
    sidecar = sidecar_path(path)
    sidecar.write_text(sidecar.read_text().replace("[[1, 1, 1.0]]", "[[1, 9, 1.0]]"))
    with pytest.raises(DataError, match=r"r\.run\.json is damaged: its counts do not fit the run"):
        read_run(path)


def test_a_foreign_run_is_sorted_by_score_then_rank_then_line(tmp_path: Path) -> None:
    path = tmp_path / "r.trec"
    path.write_text(
        "q2 Q0 a 3 1.0 t\nq1 Q0 x 1 5 t\nq2 Q0 b 2 1.0 t\n\nq2\tQ0\tc\t9\t7e0\tt\nq1 Q0 y 1 5 t\nq2 Q0 d 2 1.0 t\n"
    )
    back = read_run(path)
    assert lists_of(back) == {
        "q2": [("c", 7.0), ("b", 1.0), ("d", 1.0), ("a", 1.0)],
        "q1": [("x", 5.0), ("y", 5.0)],
    }
    assert not back.partial.any()


def test_the_rank_0_of_other_writers_and_scattered_queries(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("1 Q0 a 0 2 t\n2 Q0 a 0 2 t\n1 Q0 b 1 1 t\n")
    assert lists_of(read_run(tmp_path / "r")) == {"1": [("a", 2.0), ("b", 1.0)], "2": [("a", 2.0)]}


def test_msmarco_runs(tmp_path: Path) -> None:
    lists: Lists = {"none": [], "q": [("b", 3.0), ("a", 3.0)], "p": [("c", 1.0)]}
    write_run(ranking_of(lists), tmp_path / "r.tsv", format="msmarco")
    assert (tmp_path / "r.tsv").read_text() == "q\tb\t1\nq\ta\t2\np\tc\t1\n"
    back = read_run(tmp_path / "r.tsv")
    assert lists_of(back) == {"none": [], "q": [("b", -1.0), ("a", -2.0)], "p": [("c", -1.0)]}


def test_gzipped_runs_are_reproducible(tmp_path: Path) -> None:
    ranking = ranking_of({"q": [("a", 1.0)]})
    write_run(ranking, tmp_path / "x.run.gz")
    write_run(ranking, tmp_path / "y.run.gz")
    data = (tmp_path / "x.run.gz").read_bytes()
    assert data == (tmp_path / "y.run.gz").read_bytes()
    assert gzip.decompress(data) == b"q Q0 a 1 1.0 tamis\n"


def test_several_runs_share_one_space(tmp_path: Path) -> None:
    write_run(ranking_of({"q": [("b", 2.0), ("a", 1.0)]}), tmp_path / "one.run")
    write_run(ranking_of({"q": [("c", 2.0), ("b", 1.0)]}), tmp_path / "two.trec.gz")
    runs = read_runs([tmp_path / "one.run", tmp_path / "two.trec.gz"])
    assert list(runs) == ["one", "two"]
    assert runs["one"].space is runs["two"].space
    assert [runs[name].rows.tolist() for name in runs] == [[1, 0], [2, 1]]


def test_names_of_runs(tmp_path: Path) -> None:
    assert [run_name(n) for n in ("a/bm25.run.gz", "x.top100.trec", "y.txt", "plain", "odd.bin", ".run")] == [
        "bm25",
        "x.top100",
        "y",
        "plain",
        "odd.bin",
        ".run",
    ]
    (tmp_path / "sub").mkdir()
    paths = [tmp_path / "r.run", tmp_path / "sub" / "r.run"]
    for path in paths:
        write_run(ranking_of({"q": [("a", 1.0)]}), path)
    assert list(read_runs(paths)) == list(map(str, paths))
    with pytest.raises(UsageError, match=r"r\.run is given twice"):
        read_runs([paths[0], paths[0]])


def test_a_ranking_without_any_result(tmp_path: Path) -> None:
    write_run(Ranking.from_lists(SPACE, ["q"], [([], [])]), tmp_path / "r.run")
    assert (tmp_path / "r.run").read_bytes() == b""
    assert lists_of(read_run(tmp_path / "r.run")) == {"q": []}


def test_an_empty_run_that_nobody_vouches_for(tmp_path: Path) -> None:
    (tmp_path / "r.run").touch()
    with pytest.raises(DataError, match=r"run .*r\.run has no lines"):
        read_run(tmp_path / "r.run")


def test_a_missing_run() -> None:
    with pytest.raises(MissingResourceError, match=r"there is no run file no/such\.run"):
        read_run("no/such.run")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingResourceError, match=r"there is no folder .*absent; make it first"):
        write_run(ranking_of({"q": [("a", 1.0)]}), tmp_path / "absent" / "r.run")


def test_a_malformed_line_names_the_run(tmp_path: Path) -> None:
    (tmp_path / "r.run").write_text("q Q0 a 1 1 t\nq Q0 a 2 0.5 t\n")
    with pytest.raises(BadRecordError, match=r"r\.run:2: document 'a' stands twice in the results of query 'q'"):
        read_run(tmp_path / "r.run")


@pytest.mark.parametrize("taken", ["r.run", "r.run.json"])
def test_nothing_is_overwritten_unasked(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    ranking = ranking_of({"q": [("a", 1.0)]})
    with pytest.raises(OutputExistsError, match=rf"{taken} exists: choose another name, or pass --force"):
        write_run(ranking, tmp_path / "r.run")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert write_run(ranking, tmp_path / "r.run", overwrite=True) == tmp_path / "r.run.json"


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (
            {"q 1": [("a", 1.0)]},
            "query id 'q 1': an id must not be empty or hold white space; it cannot be written to a run",
        ),
        ({"q 1": []}, "query id 'q 1'"),
        ({"q": [("a b", 1.0)]}, "document id 'a b': an id must not be empty or hold white space; it cannot be written"),
        ({"q": [("a", 2.0), ("", 1.0)]}, "document id ''"),
        ({"q": [("\ud800", 1.0)]}, "query 'q': a document id holds a lone surrogate"),
        (
            {"ok": [("a", 1.0)], "q": [("a", 1e39)]},
            r"query 'q': score 1e\+39 cannot be written: .* single precision, whose limit is",
        ),
        ({"q": [("a", -LIMIT), ("b", -LIMIT)]}, r"query 'q': score -3\.4028234663852886e\+38 cannot be written"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, lists: Lists, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_run(ranking_of(lists), tmp_path / "r.run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tag", ["", "two words", "a\n", "\u00a0"])
def test_tags(tmp_path: Path, tag: str) -> None:
    with pytest.raises(UsageError, match="a tag must not be empty or hold white space"):
        write_run(ranking_of({"q": [("a", 1.0)]}), tmp_path / "r", tag=tag)


def test_formats(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run format 'csv': must be 'trec' or 'msmarco'"):
        write_run(ranking_of({"q": [("a", 1.0)]}), tmp_path / "r", format="csv")  # type: ignore[arg-type]


@pytest.mark.real
def test_real_runs(collections: Path) -> None:
    runs = read_runs(sorted((collections / "msmarco-dl19-pool" / "runs").iterdir()))
    assert len(runs) == 6
    assert {(len(run), len(run.rows)) for run in runs.values()} == {(43, 4300)}
    first = runs["bm25.top100"]["264014"][0]
    assert (first.id, first.score) == ("5611210", 15.780599594116211)
