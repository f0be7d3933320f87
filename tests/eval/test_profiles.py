"""Profiles: which one a name means, what it does to measures and rankings, and the figures that depend on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.data.qrels import read_qrels
from tamis.data.runs import read_run
from tamis.errors import UnknownNameError, UsageError
from tamis.eval import evaluate, parse_measures
from tamis.eval.profiles import PROFILES, Profile, choose_profile, detect_profile, find_profile
from tamis.ranking import IdSpace, Ranking


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("msmarco-passage/dev/small", "msmarco-passage"),
        ("msmarco-passage/trec-dl-2019/judged", "trec-dl-2019"),
        ("msmarco-passage/trec-dl-2020", "trec-dl-2020"),
        ("msmarco-passage-v2/trec-dl-2023/judged", "trec-dl-2023"),
        ("beir/arguana", "beir/arguana"),
        ("beir/quora/test", "beir/quora"),
        ("beir/cqadupstack/android", "beir/cqadupstack"),
        ("beir/msmarco/dev", "beir/msmarco"),
        ("cranfield", "cranfield"),
    ],
)
def test_a_dataset_is_known_by_its_id(dataset: str, name: str) -> None:
    found = detect_profile(dataset)
    assert found is not None
    assert found.name == name
    assert choose_profile("auto", dataset) is found


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("arguana", "beir/arguana"),
        ("x/nfcorpus/qrels/test.tsv", "beir/nfcorpus"),
        ("SciFact/qrels/train.tsv.gz", "beir/scifact"),
        ("qrels.dl19-passage.txt.gz", "trec-dl-2019"),
        ("collections/msmarco-passage/qrels.dl20-passage.txt", "trec-dl-2020"),
        ("qrels.msmarco-passage.dev-subset.txt", "msmarco-passage"),
        ("qrels.beir-v1.0.0-quora.test.txt", "beir/quora"),
        ("2019qrels-pass.txt", "trec-dl-2019"),
        ("x/cacm/qrels/test.tsv", "cacm"),
    ],
)
def test_a_path_is_known_by_its_name(path: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert detect_profile(str(file)) is PROFILES[name]
    assert detect_profile(f"{file}#test") is PROFILES[name]


def test_other_paths_say_nothing(tmp_path: Path) -> None:
    for path in "qrels.txt", "quora/one/two/qrels.txt", "msmarco-passage/qrels.txt", "robust04.txt", "beir/test.tsv":
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        assert detect_profile(str(file)) is None


@pytest.mark.parametrize(
    "source",
    [
        "qrels.txt",
        "beir/arguanax",
        "msmarco-document/trec-dl-2019",  # there grade 1 is relevant
        "nfcorpus/test/video",  # another edition than BEIR's
    ],
)
def test_other_names_say_nothing(source: str) -> None:
    assert detect_profile(source) is None
    with pytest.raises(UsageError, match="name one of: msmarco-passage, trec-dl-2019"):
        choose_profile("auto", source)


def test_profiles_are_found_by_name_alias_and_dataset() -> None:
    assert find_profile("beir/quora") is find_profile("quora") is find_profile("beir/quora/dev")
    assert find_profile("dl19") is PROFILES["trec-dl-2019"]
    assert choose_profile(None, "beir/quora") is choose_profile("none", "beir/quora") is None
    with pytest.raises(
        UnknownNameError, match=r"evaluation profile 'argauna'.*valid: auto, beir/arguana.*trec-dl-2023"
    ):
        find_profile("argauna")


def test_every_profile_is_whole_and_names_are_not_shared() -> None:
    seen: dict[str, str] = {}
    for profile in PROFILES.values():
        measures = parse_measures(profile.measures)
        assert profile.adapt(measures) == measures, "official measures state their threshold"
        assert all((m.cutoff or 0) <= profile.depth for m in measures)
        assert profile.source
        for name in {profile.name, *profile.aliases, *profile.datasets}:
            assert seen.setdefault(name, profile.name) == profile.name


def test_the_threshold_is_for_binary_measures_that_state_none() -> None:
    given = parse_measures(
        [
            "nDCG@10",
            "AP",
            "AP(rel=1)@5",
            "RR@10",
            "R(rel=3)@5",
            "P@5",
            "Bpref",
            "NumRet",
            "NumRel",
            "ERR@20",
            "Judged@10",
        ]
    )
    assert [m.name for m in PROFILES["trec-dl-2019"].adapt(given)] == [
        "nDCG@10", "AP(rel=2)", "AP@5", "RR(rel=2)@10", "R(rel=3)@5", "P(rel=2)@5", "Bpref(rel=2)", "NumRet",
        "NumRel(rel=2)", "ERR@20", "Judged@10",
    ]  # fmt: skip
    assert PROFILES["cacm"].adapt(given) == given
    twins = PROFILES["trec-dl-2019"].adapt(parse_measures(["AP", "AP(rel=2)"]))
    assert [m.name for m in twins] == ["AP(rel=2)"]


def run_of(**lists: str) -> Ranking:
    space = IdSpace({doc for docs in lists.values() for doc in docs})
    pairs = [(space.rows(list(docs)), list(range(len(docs), 0, -1))) for docs in lists.values()]
    return Ranking.from_lists(space, list(lists), pairs)


def test_self_matches_are_dropped_before_ranks_are_counted() -> None:
    qrels = {"a": {"b": 1}, "b": {"c": 1}, "z": {"a": 1}}
    run = run_of(a="abc", b="dbc", z="a")
    assert evaluate(qrels, run, "RR").values[0, 0].tolist() == [1 / 2, 1 / 3, 1.0]
    dropped = evaluate(qrels, run, "RR", ignore_self=True)
    assert dropped.values[0, 0].tolist() == [1.0, 1 / 2, 1.0]
    by_profile = evaluate(qrels, run, "RR", profile="arguana")
    assert by_profile.values[0, 0].tolist() == [1.0, 1 / 2, 1.0]
    assert by_profile.conventions.own == (2,)
    assert by_profile.to_dict()["conventions"] == {
        "profile": PROFILES["beir/arguana"].to_dict(),
        "ignore_self": True,
        "depth": 100,
        "removed_self": {"run": 2},
        "beyond_depth": {"run": 0},
    }
    assert dropped.to_dict()["conventions"]["profile"] is None


def test_only_the_own_id_is_a_self_match_whatever_the_order_of_ids() -> None:
    run = run_of(b="xaby", x="yxab")
    qrels = {"b": {"y": 1}, "x": {"b": 1}}
    got = evaluate(qrels, run, "RR", ignore_self=True)
    assert got.values[0, 0].tolist() == [1 / 3, 1 / 3]
    assert got.conventions.own == (2,)


def test_a_list_of_nothing_but_the_query_itself_is_no_list() -> None:
    got = evaluate({"a": {"b": 1}, "c": {"b": 1}}, run_of(a="a", c="b"), ["RR", "NumRet"], ignore_self=True)
    assert got.values[0].tolist() == [[0, 1], [0, 1]]
    assert "queries_without_results" in {w.code for w in got.warnings}


def test_depth_counts_after_self_matches_and_in_the_order_of_the_tie_rule() -> None:
    profile = Profile("two", ("AP",), "a test", depth=2, ignore_self=True)
    run = run_of(a="abcd", e="bcd")
    got = evaluate({"a": {"c": 1, "d": 1}, "e": {"d": 1}}, run, ["AP", "NumRet"], profile=profile)
    assert got.values[0].tolist() == [[1 / 2 / 2, 0], [2, 2]]
    assert (got.conventions.own, got.conventions.beyond) == ((1,), (2,))
    tied = Ranking.from_lists(IdSpace("abc"), ["q"], [([0, 1, 2], [1.0, 1.0, 1.0])])
    shallow = Profile("one", ("AP",), "a test", depth=1)
    for ties, value in ("trec_eval", 1.0), ("docid", 0.0):
        assert evaluate({"q": {"c": 1}}, tied, "RR", ties=ties, profile=shallow).values[0, 0, 0] == value  # type: ignore[arg-type]


def test_measures_are_the_profile_s_where_none_is_named() -> None:
    got = evaluate({"q": {"a": 3, "b": 1}}, run_of(q="ba"), profile="trec-dl-2020")
    assert tuple(m.name for m in got.measures) == ("nDCG@10", "RR(rel=2)", "AP(rel=2)", "R(rel=2)@1000")
    assert got.mean("run", "RR(rel=2)") == 0.5
    with pytest.raises(UsageError, match="no measure is named"):
        evaluate({"q": {"a": 1}}, run_of(q="a"))


def test_what_does_not_fit_the_profile_is_said() -> None:
    def codes(qrels: dict[str, dict[str, int]], run: Ranking, measures: list[str], **options: object) -> set[str]:
        return {w.code for w in evaluate(qrels, run, measures, **options).warnings}  # type: ignore[arg-type]

    binary, graded = {"q": {"a": 1}}, {"q": {"a": 2}}
    assert "threshold_above_grades" in codes(binary, run_of(q="a"), ["AP"], profile="dl19")
    assert "threshold_above_grades" not in codes(graded, run_of(q="a"), ["AP"], profile="dl19")
    assert "threshold_above_grades" not in codes(binary, run_of(q="a"), ["nDCG@10"], profile="dl19")
    assert "cutoff_beyond_depth" in codes(binary, run_of(q="a"), ["R@1000"], profile="scifact")
    assert "cutoff_beyond_depth" not in codes(binary, run_of(q="a"), ["R@100"], profile="scifact")
    first = run_of(a="ab", b="ba")
    judged = {"a": {"b": 1}, "b": {"a": 1}}
    assert "self_matches_first" in codes(judged, first, ["RR"])
    assert "self_matches_first" not in codes(judged, first, ["RR"], ignore_self=True)
    assert "self_judged_relevant" in codes({"a": {"a": 1}}, first, ["RR"], ignore_self=True)


def test_a_run_cut_above_the_profile_s_depth_is_said_of_measures_that_look_deeper() -> None:
    qrels = {q: {"a": 1} for q in "xyz"}

    def warned(measures: list[str], **lists: str) -> list[str]:
        found = evaluate(qrels, run_of(**lists), measures, profile="scifact").warnings
        return [w.message for w in found if w.code == "run_short_of_depth"]

    cut = {"x": "abcd", "y": "bcde", "z": "b"}
    assert "end at rank 4, and AP, R@100 look deeper" in warned(["AP", "R@100", "nDCG@3", "RR"], **cut)[0]
    assert not warned(["nDCG@4", "R@3"], **cut)
    assert not warned(["AP"], x="abcdef", y="bc", z="b")  # two queries found no more


@pytest.mark.real
def test_dl19_binary_measures_depend_on_the_profile(collections: Path) -> None:
    folder = collections / "msmarco-dl19-pool"
    qrels = read_qrels(folder / "qrels" / "test.full.tsv")
    run = read_run(folder / "runs" / "bm25.top100.trec.gz")
    plain, official = (evaluate(qrels, run, ["AP", "nDCG@10"], profile=profile) for profile in (None, "dl19"))
    assert official.mean("run", "nDCG@10") == plain.mean("run", "nDCG@10")
    assert [m.name for m in official.measures] == ["AP(rel=2)", "nDCG@10"]
    assert official.mean("run", "AP(rel=2)") == evaluate(qrels, run, "AP(rel=2)").mean("run", "AP(rel=2)")
    assert official.mean("run", "AP(rel=2)") != plain.mean("run", "AP")
