from __future__ import annotations

from tamis.engine import Index


def test_an_explanation_for_people(built, tamis):
    done = tamis("explain", built.index, "finer sieve", "soup", "--pipeline", "rrf(bm25, ql) % 2 >> bm25")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[:3] == ["query     finer sieve", "document  soup", "pipeline  rrf(bm25, ql) % 2 >> bm25"]
    header = next(line for line in lines if line.startswith("step"))
    assert header.split() == ["step", "stage", "rank", "of", "score", "what", "happened"]
    steps = [line.split()[:2] for line in lines if line.startswith("[")]
    assert steps[:3] == [["[1]", "bm25"], ["[2]", "ql"], ["[3]", "rrf(bm25,"]]
    term = next(line for line in lines if line.startswith("finer"))
    assert term.split()[2:] == ["contents", "2", "1", "8", "1.0000", "query"]
    assert "soup: rank 1, score" in done.err
    assert "\x1b" not in done.out


def test_the_envelope_holds_the_librarys_explanation(built, tamis):
    done = tamis("explain", built.index, "finer sieve", "cat", "--filter", "year>2000", "-k", "5", "--json")
    with Index.open(built.index) as index:
        expected = index.explain("finer sieve", "cat", k=5, filter="year > 2000").to_dict()
    assert done.envelope["results"] == expected
    assert done.envelope["resolved"]["filter"] == "year > 2000"
    assert done.envelope["resolved"]["pipeline"] == "bm25"
    assert done.envelope["results"]["rank"] == 2


def test_a_document_that_is_not_found_is_no_failure(built, tamis):
    done = tamis("explain", built.index, "zebra", "cat")
    assert done.code == 0
    assert "the query does not match it" in done.out
    assert "in no document: zebra" in done.out
    assert "not among the 1000 results of bm25" in done.err
    cut = tamis("explain", built.index, "sieve", "cat", "--pipeline", "bm25 % 1")
    assert "dropped by % 1 at rank" in cut.out


def test_long_evidence_is_cut_for_people_only(built, tamis, monkeypatch):
    import tamis.cli.explain as module

    monkeypatch.setattr(module, "SHOWN", 1)
    done = tamis("explain", built.index, "finer sieve soup", "soup")
    assert "… and 2 lines more: --json shows all" in done.out


def test_what_is_refused(built, tamis):
    gone = tamis("explain", built.index, "sieve", "no-such")
    assert (gone.code, "no-such" in gone.err) == (4, True)
    assert tamis("explain", built.index, "sieve", "cat", "--pipeline", "bm26").code == 2
    assert tamis("explain", built.index, "sieve", "cat", "--filter", "year >").code == 2
    assert tamis("explain", built.index, "sieve", "cat", "-k", "0").code == 2
