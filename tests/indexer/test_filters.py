"""Row masks: the columns in Arrow say what the documents' own metadata say, whatever the segments look like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tamis
from tamis.data.filters import Comparison, IsNull, Membership, parse_filter
from tamis.errors import ParseError, UsageError
from tamis.indexer import filters as filters_module
from tamis.indexer.documents import DocumentStore
from tamis.indexer.filters import _condition
from tamis.indexer.segment import typed_column

BATCHES: list[list[dict[str, Any]]] = [
    [{"year": 1969, "lang": "en", "open": True}, {"year": 1970, "lang": "de"}, {"lang": "en", "open": False}],
    [{"year": "1970", "lang": ["en", "fr"]}, {"year": None, "lang": "fr"}, {"year": 1970.5, "lang": "en"}],
    [{"year": [1971, 3], "lang": ["de"]}, {"year": {"a": 1}}, {}],
]
FILTERS = [
    "year >= 1970",
    "year < 1970.5",
    'year == "1970"',
    "year != 1970",
    "year is null",
    'not lang == "en"',
    'lang in ["en", "fr"]',
    'lang not in ["en", "fr"]',
    "open == true or lang > 'e'",
    'year >= 1970 and not (lang == "de" or open is null)',
]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tamis.Index]:
    with tamis.Index.create(tmp_path / "index", filterable=("year", "lang", "open"), threads=1) as made:
        for number, batch in enumerate(BATCHES):
            made.add({"id": f"{number}-{i}", "text": "sieve " * (i + 1), **data} for i, data in enumerate(batch))
        yield made


def expected(index: tamis.Index, text: str) -> list[str]:
    """The ids whose metadata a filter accepts, asked one by one."""
    chosen = parse_filter(text)
    ids = [f"{n}-{i}" for n, batch in enumerate(BATCHES) for i in range(len(batch))]
    live = [doc_id for doc_id in ids if index.documents.rows([doc_id])[0] >= 0]
    return [doc_id for doc_id in live if chosen.accepts(index.document(doc_id).metadata)]


def allowed(index: tamis.Index, text: str) -> list[str]:
    mask = index.mask(text)
    assert (mask.dtype, mask.shape) == (np.bool_, (index.documents.row_limit,))
    return index.documents.ids(np.flatnonzero(mask))


def test_masks_are_what_the_metadata_say(index: tamis.Index) -> None:
    assert expected(index, "year >= 1970") == ["0-1", "1-2", "2-0"]
    for text in FILTERS:
        assert allowed(index, text) == expected(index, text), text


def test_deletes_and_compaction_change_nothing_else(index: tamis.Index) -> None:
    index.delete(["0-1", "2-2"])
    for text in FILTERS:
        assert allowed(index, text) == expected(index, text), text
    before = {text: allowed(index, text) for text in FILTERS}
    index.compact()
    assert {text: allowed(index, text) for text in FILTERS} == before


_NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([(1 << 53) + 1, 1 << 63, (1 << 63) - 1, -(1 << 63), 10**400, -(10**400), 0.5, -1e308, 5e-324]),
)
_COLUMNS = st.one_of(
    *(
        st.lists(st.none() | kind, max_size=6)
        for kind in (
            st.integers(-3, 3),
            st.sampled_from([(1 << 53) + 1, (1 << 63) - 1, -(1 << 63), 0]),
            st.floats(-3, 3) | st.integers(-3, 3),
            st.sampled_from([1e308, -1e308, 9007199254740992.0, 0.5, -0.0]),
            st.booleans(),
            st.text("ab\U0001f600\uffff", max_size=2),
            st.lists(st.text("ab", max_size=1), max_size=2),
        )
    )
)
_CONDITIONS = st.one_of(
    st.builds(IsNull, st.just("k"), st.booleans()),
    st.builds(
        Membership,
        st.just("k"),
        st.lists(_NUMBERS | st.booleans() | st.text("ab", max_size=1), min_size=1, max_size=3).map(tuple),
        st.booleans(),
    ),
    st.builds(
        Comparison,
        st.just("k"),
        st.sampled_from(["<", "<=", ">", ">="]),
        _NUMBERS | st.text("ab\U0001f600", max_size=2),
    ),
)


@given(_COLUMNS, _CONDITIONS)
@example([-0.0, 0.0, 1.5], Membership("k", (0,), negated=False))
@example([0.0, -0.0], Membership("k", (-0.0,), negated=True))
def test_arrow_says_what_python_says(values: list[Any], condition: Any) -> None:
    import pyarrow as pa

    class Columns:
        def __len__(self) -> int:
            return len(values)

        def column(self, key: str) -> Any:
            return pa.chunked_array([typed_column(values)])

        def values(self, key: str) -> list[Any]:
            raise AssertionError("these columns are of one kind")

    found = _condition(condition, Columns())  # type: ignore[arg-type]
    assert found.tolist() == [condition.holds(value) for value in values]


def test_passages_have_their_documents_metadata(tmp_path: Path) -> None:
    with tamis.Index.create(tmp_path / "index", passages="tokens:2", filterable=("year",)) as index:
        index.add([{"id": "a", "text": "one two three", "year": 1}, {"id": "b", "text": "one two three", "year": 2}])
        assert allowed(index, "year == 2") == ["b#0", "b#1"]
        found = index.rank("one three", 10, pipeline="bm25 >> maxp", filter="year == 2")["1"]
        assert [hit.id for hit in found] == ["b"]


def test_masks_are_made_once_a_generation(index: tamis.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = filters_module.make_mask

    def counted(documents: DocumentStore, chosen: Any) -> Any:
        made.append(str(chosen))
        return real(documents, chosen)

    monkeypatch.setattr(filters_module, "make_mask", counted)
    first = index.mask("year>=1970")
    assert index.mask("(year >= 1970)") is first
    assert made == ["year >= 1970"]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = True
    index.delete(["0-1"])
    assert not index.mask("year >= 1970")[1]
    assert made == ["year >= 1970"] * 2


def test_few_masks_are_remembered(index: tamis.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters_module, "_CACHE_BYTES", 20)
    first = index.mask("year == 1")
    index.mask("year == 2")
    assert index.mask("year == 1") is first
    index.mask("year == 3")  # the third does not fit: the second, asked for longest ago, goes
    assert index.mask("year == 1") is first
    second = index.mask("year == 2")
    assert index.mask("year == 2") is second


def test_keys_that_are_no_columns_are_refused(index: tamis.Index, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"keeps 'year', 'lang', 'open'; .* --filterable year,lang,open,colour"):
        index.mask('year > 1 and colour == "red"')
    with tamis.Index.create(tmp_path / "bare") as bare, pytest.raises(UsageError, match="keeps none"):
        bare.mask("year > 1")
    with pytest.raises(ParseError):
        index.mask("year >")


def test_an_empty_index_allows_nothing(tmp_path: Path) -> None:
    with tamis.Index.create(tmp_path / "index", filterable=("year",)) as index:
        assert index.mask("year is null").tolist() == []
