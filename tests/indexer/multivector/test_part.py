"""Coded multi-vector parts: candidates find what an exact search finds, through adds, deletes, filters and compaction."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.encoders.base import ModelIdentity, Passage, Tick, TokenVectors, no_tick
from tamis.engine import Index
from tamis.errors import CorruptIndexError, IndexVersionError, UsageError
from tamis.indexer.multivector.kind import MultiVectorKind
from tamis.indexer.multivector.part import EXACT, LateHow, MultiVectorPart
from tamis.indexer.multivector.shards import IDS, LISTS

DIMENSIONS, TOPICS = 32, 20


class Toy:
    """A late-interaction encoder of made-up words: a word's vector is near its topic's, ``w17`` of topic 7."""

    identity = ModelIdentity("colbert:toy", {}, {"family": "toy"})
    dimensions = DIMENSIONS

    def _encode(self, texts: Sequence[str]) -> TokenVectors:
        vectors, lengths = [], []
        for text in texts:
            words = text.split()
            lengths.append(len(words))
            vectors += [self._word(int(word[1:])) for word in words]
        found = np.array(vectors, np.float32).reshape(-1, DIMENSIONS)
        return TokenVectors(found, np.array(lengths, np.int64), 0)

    def _word(self, number: int) -> Any:
        middle = np.random.default_rng(number % TOPICS).standard_normal(DIMENSIONS)
        vector = middle + 0.5 * np.random.default_rng(10**6 + number).standard_normal(DIMENSIONS)
        return vector / np.linalg.norm(vector)

    def encode_passages(self, passages: Sequence[Passage], *, tick: Tick = no_tick) -> TokenVectors:
        return self._encode([passage.text for passage in passages])

    def encode_queries(self, texts: Sequence[str], *, tick: Tick = no_tick) -> TokenVectors:
        return self._encode(texts)


def documents(first: int, last: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(first)
    made = []
    for i in range(first, last):
        words = rng.integers(0, 4000, rng.integers(3, 20))
        words[: len(words) // 2] = words[: len(words) // 2] // TOPICS * TOPICS + i % TOPICS  # half about its topic
        made.append({"id": f"d{i}", "text": " ".join(f"w{word}" for word in words)})
    return [*made, {"id": f"blank{first}", "text": ""}]


QUERIES = [" ".join(f"w{topic + TOPICS * j}" for j in range(100, 106)) for topic in range(TOPICS)]


def add_toy(index: Index, name: str, bits: float | None) -> None:
    """What `Index.add_part` does, for an encoder that no address opens."""
    with index._writer() as writer:
        writer.add_part(name, "multivector", Toy(), {"store": "float32", "bits": bits})
        index._follow(writer)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    patch = pytest.MonkeyPatch()
    patch.setattr("tamis.indexer.writer.open_encoder", lambda address: Toy())
    with Index.create(tmp_path_factory.mktemp("late") / "index") as made:
        made.add(documents(0, 400))
        add_toy(made, "coded", 2)
        add_toy(made, "plain", None)
        made.add(documents(400, 600))
        made.delete([f"d{i}" for i in range(0, 600, 7)])
        yield made
    patch.undo()


def vectors_of(query: str) -> Any:
    return Toy().encode_queries([query]).vectors


def brute(part: MultiVectorPart, query: Any, k: int, allowed: Any) -> list[tuple[int, float]]:
    """By definition, over the vectors as the part gives them."""
    scores = {}
    for position in np.flatnonzero(allowed).tolist():
        products = query.astype(np.float64) @ part.tokens_of(position).T.astype(np.float64)
        scores[position] = float(np.float32(products.max(1).sum()))
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]


def test_looking_at_all_is_maxsim_by_its_definition(index: Index) -> None:
    part = index.part("plain")
    allowed = part.allowed(None)
    assert not allowed[[400, 601]].any()  # the blank ones
    for text in QUERIES[:3]:
        positions, scores = part.search(vectors_of(text), 20, allowed, EXACT)
        assert list(zip(positions.tolist(), scores.tolist(), strict=True)) == brute(part, vectors_of(text), 20, allowed)


def test_over_codes_too_up_to_the_steps_of_whole_numbers(index: Index) -> None:
    part = index.part("coded")
    allowed = part.allowed(None)
    assert not allowed[[400, 601]].any()
    for text in QUERIES[:3]:
        positions, scores = part.search(vectors_of(text), 20, allowed, EXACT)
        wanted = dict(brute(part, vectors_of(text), 700, allowed))
        np.testing.assert_allclose(scores, [wanted[p] for p in positions.tolist()], atol=2e-3)
        assert min(scores) >= sorted(wanted.values())[-20] - 2e-3
        assert sorted(scores.tolist(), reverse=True) == scores.tolist()


def test_what_is_explained_is_what_is_scored(index: Index) -> None:
    for name in ("plain", "coded"):
        part = index.part(name)
        query = vectors_of(QUERIES[2])
        positions, scores = part.search(query, 5, part.allowed(None), EXACT)
        for position, score in zip(positions.tolist(), scores.tolist(), strict=True):
            best, products = part.alignment(query, position)
            assert float(np.float32(products.sum())) == score
            tokens = part.tokens_of(position)
            np.testing.assert_allclose(products, np.einsum("ij,ij->i", query, tokens[best]), atol=5e-4)
        again = part.scores_of(query, part.documents.rows_at(positions[::-1]))
        assert again.tolist() == scores[::-1].tolist()


def test_threads_and_batches_find_the_same(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    part = index.part("coded")
    allowed, queries = part.allowed(None), [vectors_of(text) for text in QUERIES]
    how = LateHow(candidates=60)
    monkeypatch.setattr(part, "threads", 1)
    alone = [part.search(query, 10, allowed, how) for query in queries]
    monkeypatch.setattr(part, "threads", 3)
    monkeypatch.setattr("tamis.indexer.multivector.part._SHARE", 16)
    several = [part.search(query, 10, allowed, how) for query in queries]
    for found in (several, part.search_all(queries, 10, allowed, how)):
        for own, wanted in zip(found, alone, strict=True):
            assert own[0].tolist() == wanted[0].tolist()
            assert own[1].tobytes() == wanted[1].tobytes()


def test_large_parts_open_lists(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    part, query = index.part("coded"), vectors_of(QUERIES[1])
    allowed = part.allowed(None)
    opened = part.search(query, 10, allowed, LateHow(nprobe=8, candidates=40))
    every = part.search(query, 10, allowed, LateHow(candidates=40))
    monkeypatch.setattr("tamis.indexer.multivector.part._GLANCE_TOKENS", 100)
    found = part.search(query, 10, allowed, LateHow(candidates=40))
    assert [column.tolist() for column in found] == [column.tolist() for column in opened]
    assert len(set(every[0].tolist()) & set(opened[0].tolist())) >= 8


def test_codes_of_an_earlier_layout_are_refused(index: Index) -> None:
    part = index.part("coded")
    older = replace(part.entry, facts={"dimensions": DIMENSIONS})
    with pytest.raises(IndexVersionError, match="drop-part"):
        MultiVectorKind().open(part.folder, "coded", older, part.documents, 1)


def test_codes_are_near_the_vectors(index: Index) -> None:
    plain, coded = index.part("plain"), index.part("coded")
    for position in (1, 333, 500):
        cosines = np.einsum("ij,ij->i", plain.tokens_of(position), coded.tokens_of(position))
        assert cosines.min() > 0.8
        assert cosines.mean() > 0.93


@pytest.mark.parametrize("nprobe", [None, 4])
def test_candidates_find_what_all_of_them_do(index: Index, nprobe: int | None) -> None:
    part = index.part("coded")
    allowed, found = part.allowed(None), []
    for text in QUERIES:
        query = vectors_of(text)
        exact = part.search(query, 10, allowed, EXACT)
        near = part.search(query, 10, allowed, LateHow(nprobe=nprobe, candidates=80))
        held = dict(zip(*(column.tolist() for column in exact), strict=True))
        found.append(len(held.keys() & set(near[0].tolist())) / 10)
        assert all(held.get(p, s) == s for p, s in zip(*(column.tolist() for column in near), strict=True))
    assert np.mean(found) > 0.95


def test_k_are_found_where_k_are_allowed(index: Index) -> None:
    part = index.part("coded")
    allowed = part.allowed(None)
    few = np.zeros_like(allowed)
    few[np.flatnonzero(allowed)[5:40:5]] = True
    query = vectors_of(QUERIES[3])
    for how in (EXACT, LateHow(nprobe=1, candidates=1)):
        positions, scores = part.search(query, 50, few, how)
        wanted = part.search(query, 50, few, EXACT)
        assert sorted(positions.tolist()) == np.flatnonzero(few).tolist()
        assert [positions.tolist(), scores.tolist()] == [column.tolist() for column in wanted]


def test_compaction_copies_codes(index: Index, tmp_path: Path) -> None:
    shutil.copytree(index.path, tmp_path / "copy")
    with Index.open(tmp_path / "copy") as copy:
        before, part = {}, copy.part("coded")
        for row in copy.documents.rows(["d1", "d450", "d599"]).tolist():
            before[row] = part.tokens_of(int(copy.documents.positions_of(np.array([row]))[0]))
        hits = part.search(vectors_of(QUERIES[0]), 10, part.allowed(None), EXACT)
        rows = part.documents.rows_at(hits[0]).tolist()
        copy.compact()
        part = copy.part("coded")
        for row, tokens in before.items():
            position = int(copy.documents.positions_of(np.array([row]))[0])
            assert part.tokens_of(position).tobytes() == tokens.tobytes()
        again = part.search(vectors_of(QUERIES[0]), 10, part.allowed(None), EXACT)
        assert part.documents.rows_at(again[0]).tolist() == rows
        assert again[1].tolist() == hits[1].tolist()
        assert copy.verify().ok


def test_size_and_damage(index: Index, tmp_path: Path) -> None:
    part = index.part("coded")
    shard = part.folder / part.entry.shards[0].segment
    plain = index.part("plain")
    tokens = (plain.folder / plain.entry.shards[0].segment / "tokens.npy").stat().st_size
    codes = (shard / "residuals.npy").stat().st_size
    assert codes < tokens / 14  # 2 bits for 32, and a byte a token
    for name in (IDS, LISTS):
        copied = tmp_path / name
        shutil.copytree(index.path, copied)
        place = copied / shard.relative_to(index.path) / name
        np.save(place, np.full_like(np.load(place), 65_535))
        with Index.open(copied) as copy:
            broken = copy.part("coded")
            with pytest.raises(CorruptIndexError, match="tamis verify"):
                broken.search(vectors_of(QUERIES[0]), 5, broken.allowed(None), LateHow(nprobe=2, candidates=10))


def test_bits_that_do_not_fit(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index") as made:
        made.add(documents(0, 5))
        with pytest.raises(UsageError, match=r"bits=2\.1"):
            add_toy(made, "coded", 2.1)
