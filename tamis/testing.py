"""What every model family must do: a test class to inherit.

A third party's test suite needs one class:

    from tamis.testing import FamilyConformance

    class TestMine(FamilyConformance):
        address = "mine:some/model?strength=2"

        def source(self):
            return tamis.open("a-small-index")   # anything with `documents` and `part`

        queries = {"1": "a query that finds at least three documents", "2": "another"}

The methods are ordinary pytest tests; nothing here imports pytest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tamis.errors import UnknownNameError, UsageError
from tamis.families import Address, families, family, open_model, parse_options
from tamis.ranking import Queries, Ranking
from tamis.stages import Explainer, Grouper, QueryStage, Rescorer, Retriever


class FamilyConformance:
    """Inherit, set `address` and `queries`, and return a document source from `source`.

    Attributes:
        address: address of a model of the family, with options if it has any.
        queries: id → text; each should find at least three documents.
        candidates: where a family only re-scores: the address of a retriever to take candidates from.
        tolerance: how far scores may depend on which queries run together.
    """

    address: ClassVar[str]
    queries: ClassVar[Mapping[str, str]]
    candidates: ClassVar[str] = "bm25"
    tolerance: ClassVar[float] = 1e-5

    def source(self) -> Any:
        """Return an open index, or anything with its `documents` and `part`."""
        raise AssertionError(f"{type(self).__name__} must say what it is tested on: define source()")

    # -- the class -------------------------------------------------------------------------------------------------

    def _family(self) -> Any:
        return family(Address.parse(self.address).family)

    def test_is_registered(self) -> None:
        """The family is in the registry under its own name."""
        assert Address.parse(self.address).family in families()

    def test_says_what_it_is(self) -> None:
        """It has a one-line summary and states the part it reads."""
        cls = self._family()
        assert cls.summary
        assert "\n" not in cls.summary
        assert cls.part_kind is None or isinstance(cls.part_kind, str)
        assert cls.default_part is None or isinstance(cls.default_part, str)

    def test_declares_its_options(self) -> None:
        """Every option has a default, a sentence of help and a scope."""
        cls = self._family()
        cls.Options()
        for option in dataclasses.fields(cls.Options):
            assert option.metadata["help"], option.name
            assert option.metadata["scope"] in ("model", "part", "search"), option.name

    def test_refuses_unknown_options(self) -> None:
        """A misspelt option is an error that lists the valid ones."""
        try:
            parse_options(self._family().Options, [("no_such_option", "1")], of="it")
        except UnknownNameError as error:
            assert "no_such_option" in str(error)
        else:
            raise AssertionError("an unknown option was accepted")

    # -- what it makes ---------------------------------------------------------------------------------------------

    def _model(self) -> Any:
        return open_model(self.source(), self.address)

    def test_opens_as_a_stage(self) -> None:
        """What it opens can retrieve, re-score, rewrite or group."""
        assert isinstance(self._model(), (Retriever, Rescorer, QueryStage, Grouper))

    def test_retrieves_in_order(self) -> None:
        """At most k rows a query, best first, no row twice, all of them in the space."""
        model = self._model()
        if not isinstance(model, Retriever):
            return
        queries = Queries.of(self.queries)
        ranking = model.retrieve(queries, 10)
        assert ranking.query_ids == queries.ids
        for query, rows, scores in ranking.lists():
            assert 3 <= len(rows) <= 10, query
            assert len(set(rows.tolist())) == len(rows), query
            assert (np.diff(scores) <= 0).all(), query
        assert (ranking.space.rows(ranking.space.ids(ranking.rows)) == ranking.rows).all()

    def test_a_shorter_list_is_a_prefix(self) -> None:
        """Asking for fewer results cuts the list and changes nothing else."""
        model = self._model()
        if not isinstance(model, Retriever):
            return
        queries = Queries.of(self.queries)
        _same(model.retrieve(queries, 10).cut(2), model.retrieve(queries, 2), self.tolerance)

    def test_a_batch_is_its_queries(self) -> None:
        """Queries do not influence each other."""
        model = self._model()
        if not isinstance(model, Retriever):
            return
        queries = Queries.of(self.queries)
        together = model.retrieve(queries, 5)
        for position in range(len(queries)):
            _same(together.take([position]), model.retrieve(queries.take([position]), 5), self.tolerance)

    def test_keeps_to_a_mask(self) -> None:
        """A row filter is honoured while searching, so that a list is as long as there are allowed rows; or it is refused."""
        source, model = self.source(), self._model()
        if not isinstance(model, Retriever):
            return
        queries = Queries.of(self.queries)
        mask = np.ones(source.documents.row_limit, np.bool_)
        mask[model.retrieve(queries, 1).rows] = False
        try:
            kept = model.retrieve(queries, 1, mask=mask)
        except UsageError:
            return
        assert len(kept.rows) == len(queries)
        assert mask[kept.rows].all()

    def test_explains_its_scores(self) -> None:
        """Where it gives evidence, the root of it is the score."""
        model = self._model()
        if not (isinstance(model, Explainer) and isinstance(model, Retriever)):
            return
        queries = Queries.of(self.queries)
        found = model.retrieve(queries, 10)
        for position in range(len(queries)):
            rows, scores = found.at(position)
            (evidence,) = model.explain(queries.take([position]), rows)
            values = [root.value for root in evidence]
            np.testing.assert_allclose(np.array(values, float), scores, rtol=max(self.tolerance, 1e-6))

    def test_rescores_the_same_rows(self) -> None:
        """Re-scoring keeps every candidate, re-sorted by the new scores."""
        model = self._model()
        if not isinstance(model, Rescorer):
            return
        queries = Queries.of(self.queries)
        given = open_model(self.source(), self.candidates).retrieve(queries, 10)
        scored = model.rescore(queries, given)
        assert scored.query_ids == given.query_ids
        for position in range(len(given)):
            before, (after, scores) = given.at(position)[0], scored.at(position)
            assert sorted(before.tolist()) == sorted(after.tolist())
            assert (np.diff(scores) <= 0).all()

    def test_accepts_no_queries(self) -> None:
        """An empty batch gives an empty ranking."""
        model = self._model()
        if isinstance(model, Retriever):
            assert len(model.retrieve(Queries((), ()), 5)) == 0


def _same(a: Ranking, b: Ranking, tolerance: float) -> None:
    assert a.query_ids == b.query_ids
    assert a.rows.tolist() == b.rows.tolist()
    np.testing.assert_allclose(a.scores, b.scores, atol=tolerance, rtol=tolerance)
