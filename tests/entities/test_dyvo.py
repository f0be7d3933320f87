"""DyVo in pipelines: entities in the joint part, an ambiguous name, and additions that change what mentions them, by bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tamis
from tamis.encoders import dyvo
from tamis.encoders.sparse_entities import Entities
from tamis.entities.table import embed_entities
from tamis.entities.vocabulary import Entity, EntityVocabulary
from tamis.errors import DataError, FingerprintError, MissingResourceError, UsageError
from tamis.indexer.sparse.export import export_vectors
from tamis.testing import FamilyConformance

WIDTH = 32
Read = tuple[tamis.Index, Path]
QUERIES = {"1": "drum of the cook", "2": "fine sieve soup", "3": "what is mercury"}


@pytest.fixture(scope="module")
def mlm(tmp_path_factory: pytest.TempPathFactory, tiny) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    folder = tiny(tmp_path_factory.mktemp("dyvo") / "mlm")
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(folder))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def table(count: int, seed: int) -> Any:
    import torch

    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)) * 4


def documents(first: int, last: int) -> list[dict[str, str]]:
    """Every fifth speaks of Mercury the planet, every seventh of drum number i, which no entity is at first."""
    made = []
    for i in range(first, last):
        text = f"the weight of term {i} and a soup"
        text += " near the planet nearest sun mercury" if i % 5 == 0 else ""
        text += f" with drum number {i}" if i % 7 == 0 else ""
        made.append({"id": f"d{i}", "title": "" if i % 3 else f"document {i}", "text": text})
    return made


def fill(folder: Path, mlm: Path, entities: Sequence[Entity]) -> Path:
    """Put a vocabulary and a model of it into a folder."""
    EntityVocabulary.build(entities, folder / "vocabulary")
    ids = [entity.id for entity in entities]
    dyvo.create(mlm, dyvo.Recipe(), Entities(ids, table(6, 1)), seed=1, device="cpu").save(folder / "model")
    return folder


@pytest.fixture
def place(tmp_path: Path, mlm: Path, entities: Sequence[Entity]) -> Path:
    return fill(tmp_path, mlm, entities)


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory, mlm: Path, entities: Sequence[Entity]) -> Iterator[Read]:
    folder = fill(tmp_path_factory.mktemp("dyvo"), mlm, entities)
    with build(folder) as made:
        yield made, folder


def address_of(place: Path, **options: str) -> str:
    rest = "".join(f"&{name}={value}" for name, value in options.items())
    return f"dyvo:{place}/model?device=cpu&entities={place}/vocabulary{rest}"


def build(place: Path) -> tamis.Index:
    made = tamis.Index.create(place / "index")
    made.add(documents(0, 30))
    made.add_part(address_of(place), "joint")
    made.add(documents(30, 40))  # encoded as they come, with the linker that the manifest names
    return made


@pytest.fixture
def index(place: Path) -> Iterator[tamis.Index]:
    with build(place) as made:
        yield made


class TestConformance(FamilyConformance):
    """What every family must do."""

    queries: ClassVar = QUERIES

    @pytest.fixture(autouse=True)
    def _over(self, read_only: Read) -> None:
        self._index, place = read_only
        type(self).address = address_of(place)

    def source(self) -> Any:
        return self._index


def entities_of(index: tamis.Index, doc: str) -> set[str]:
    part = index.part("joint")
    dims, _ = part.row(int(index.documents.positions_of(index.documents.rows([doc]))[0]))
    words = part.entry.facts["words"]
    return {part.names[d] for d in dims.tolist() if d >= words}


def test_entities_are_linked_and_counted(read_only: Read) -> None:
    index, place = read_only
    mercury = {"entity:Q1", "entity:Q2", "entity:Q3"}
    for i in range(40):
        own = entities_of(index, f"d{i}")
        assert own <= mercury
        assert bool(own) == (i % 5 == 0), i
    statistics = index.manifest.parts["joint"]["facts"]["statistics"]
    assert statistics["entity_share"] == 8 / 40
    assert statistics["with_entities"] == 8
    assert statistics["entities"] == sum(len(entities_of(index, f"d{i}")) for i in range(40))
    assert statistics["mean_dimensions"] > statistics["mean_entities"] > 0
    assert index.manifest.parts["joint"]["model"]["address"] == (f"dyvo:{place}/model?entities={place}/vocabulary")


def test_explain_calls_entities_by_title(read_only: Read) -> None:
    index, place = read_only
    explained = index.explain("mercury", "d5", pipeline=address_of(place))
    names = {child.name for child in explained.stages[-1].evidence.children}
    assert names & {"entity:Q1 (Mercury (planet))", "entity:Q2 (Mercury (element))", "entity:Q3 (Mercury)"}
    assert any(not name.startswith("entity:") for name in names)


def test_it_rescores_what_has_no_part(place: Path) -> None:
    with tamis.Index.create(place / "bare") as made:
        made.add(documents(0, 12))
        rescored = made.rank(QUERIES, 5, pipeline=f"bm25 % 5 >> {address_of(place)}")
        made.add_part(f"{address_of(place)}&bits=16", "joint")
        stored = made.rank(QUERIES, 5, pipeline=f"bm25 % 5 >> {address_of(place)}")
        assert rescored.rows.tolist() == stored.rows.tolist()
        np.testing.assert_allclose(rescored.scores, stored.scores, rtol=1e-2)


def test_queries_may_have_a_linker_of_their_own(read_only: Read) -> None:
    index, place = read_only
    given = place / "given.jsonl"
    given.write_text('{"text": "soup", "entities": ["Q1"]}\n')
    plain = index.rank({"1": "soup"}, 40, pipeline=address_of(place))
    joint = index.rank({"1": "soup"}, 40, pipeline=address_of(place, query_linker=f"given:{given}"))
    before, after = ({h.id: h.score for h in r["1"]} for r in (plain, joint))
    gained = {doc for doc in before if after[doc] > before[doc] + 1e-6}
    assert gained == {d for d in before if "entity:Q1" in entities_of(index, d)} != set()
    assert all(after[doc] == pytest.approx(before[doc]) for doc in set(before) - gained)


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def rows_of(index: tamis.Index) -> dict[str, tuple[list[int], list[float]]]:
    part, found = index.part("joint"), {}
    for i in range(len(index)):
        dims, weights = part.row(i)
        found[index.documents.ids(index.documents.rows_at(np.array([i])))[0]] = (dims.tolist(), weights.tolist())
    return found


def test_a_thousand_entities_change_what_mentions_them(index: tamis.Index, place: Path) -> None:
    """All rows of other documents, and all files of other segments, stay byte for byte."""
    index.add([{"id": "late", "text": "a segment of its own that names nothing"}])
    address = address_of(place)
    before = rows_of(index)
    scores = index.rank(QUERIES, 50, pipeline=address)
    part = place / "index" / "parts" / index.manifest.parts["joint"]["id"]
    files, documents_before = bytes_of(part), bytes_of(place / "index" / "segments")
    fingerprint = index.manifest.parts["joint"]["model"]["fingerprint"]
    kept = {s["segment"] for s in index.manifest.parts["joint"]["shards"]}

    new = [Entity(f"N{i}", f"drum number {i}") for i in range(1000)]
    vocabulary = EntityVocabulary(place / "vocabulary").add(new)
    assert embed_entities(vocabulary, place / "model") == 1000
    again = index.rank(QUERIES, 50, pipeline=address)  # not brought up yet: searched as it is
    assert again.rows.tolist() == scores.rows.tolist()
    np.testing.assert_array_equal(again.scores, scores.scores)

    mentioning = {f"d{i}" for i in range(0, 40, 7)}
    assert index.update_part("joint") == len(mentioning)
    after = rows_of(index)
    assert {doc for doc in before if before[doc] != after[doc]} == mentioning
    for i in range(0, 40, 7):
        assert f"entity:N{i}" in entities_of(index, f"d{i}")
    entry = index.manifest.parts["joint"]
    assert entry["model"]["fingerprint"] == fingerprint
    assert entry["facts"]["entities"] == 1006
    assert bytes_of(place / "index" / "segments") == documents_before
    shards = bytes_of(place / "index" / "parts" / entry["id"])
    segments = {entry["segment"] for entry in entry["shards"]}
    assert segments == kept
    changed = {name.split("/")[0] for name in files if name in shards and files[name] != shards[name]}
    late = entry["shards"][-1]["segment"]
    assert segments - changed == {late}
    assert index.verify().ok
    assert index.update_part("joint") == 0
    grown = EntityVocabulary(place / "vocabulary").add([Entity("M1", "document 3")])
    assert embed_entities(grown, place / "model") == 1
    index.add_part(address, "joint")  # brings it up too
    assert {doc for doc, row in rows_of(index).items() if after[doc] != row} == {"d3"}
    after = rows_of(index)
    index.delete(["d1", "d2"])
    index.compact()
    assert rows_of(index) == {doc: row for doc, row in after.items() if doc not in ("d1", "d2")}
    after = rows_of(index)
    assert index.manifest.parts["joint"]["facts"]["statistics"]["with_entities"] == len(
        [doc for doc in after if entities_of(index, doc)]
    )
    # and the same as if the part had been made with all entities at once, to the levels of the codes
    index.drop_part("joint")
    index.add_part(address, "joint")
    anew = rows_of(index)
    assert {doc: dims for doc, (dims, _) in anew.items()} == {doc: dims for doc, (dims, _) in after.items()}
    for doc, (_, weights) in anew.items():
        np.testing.assert_allclose(weights, after[doc][1], atol=0.05)


def test_an_update_that_is_cut_off_leaves_the_part(
    index: tamis.Index, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = EntityVocabulary(place / "vocabulary").add([Entity("N0", "drum number 7")])
    embed_entities(vocabulary, place / "model")
    before, generation = rows_of(index), index.generation

    def cut(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tamis.indexer.writer.commit_parts", cut)
        with pytest.raises(KeyboardInterrupt):
            index.update_part("joint")
    with tamis.open(place / "index") as again:
        assert again.generation == generation
        assert rows_of(again) == before
        assert again.update_part("joint") == 1
        assert again.verify().ok
        assert {doc for doc, row in rows_of(again).items() if before[doc] != row} == {"d7"}
        again.gc()
        parts = [path.name for path in (place / "index" / "parts").iterdir()]
        assert again.manifest.parts["joint"]["id"] in parts


def test_a_part_that_lags_behind_its_model(index: tamis.Index, place: Path) -> None:
    """A document that comes in between has an entity that the part does not know by name yet."""
    vocabulary = EntityVocabulary(place / "vocabulary").add([Entity("N9", "soup of the cook")])
    embed_entities(vocabulary, place / "model")
    index.add([{"id": "new", "text": "a drum for soup of the cook"}])
    explained = index.explain("soup of the cook", "new", pipeline=address_of(place))
    assert "entity:N9 (soup of the cook)" in {child.name for child in explained.stages[-1].evidence.children}
    with pytest.raises(DataError, match="tamis add-part"):
        export_vectors(index.part("joint"), place / "vectors.jsonl")
    assert not (place / "vectors.jsonl").exists()
    before = rows_of(index)
    assert index.update_part("joint") == 1
    assert rows_of(index) == before
    assert export_vectors(index.part("joint"), place / "vectors.jsonl")["rows"] == 41
    assert '"entity:N9": ' in (place / "vectors.jsonl").read_text()


def test_what_cannot_be_updated(index: tamis.Index, place: Path) -> None:
    with pytest.raises(MissingResourceError, match="joint"):
        index.update_part("other")
    vectors = place / "vectors.jsonl"
    vectors.write_text("".join(f'{{"id": "d{i}", "vector": {{"a": 1}}}}\n' for i in range(40)))
    index.add_part(f"impacts:{vectors}", "impacts")
    with pytest.raises(UsageError, match="gains no entities"):
        index.update_part("impacts")
    EntityVocabulary.build([Entity("Q1", "Mercury")], place / "vocabulary", overwrite=True)
    with pytest.raises(FingerprintError, match="joint"):
        index.update_part("joint")
    with pytest.raises(UsageError, match="vocabulary"):
        index.rank("soup", pipeline=f"bm25 % 5 >> dyvo:{place}/model?query_linker=alias")


def test_sources_of_embeddings(place: Path, sentence_model, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    vocabulary = EntityVocabulary(place / "vocabulary").add([Entity("N1", "the soup"), Entity("N2", "cook")])
    model = place / "model"
    save_file({"embeddings": torch.full((2, WIDTH), 0.5)}, tmp_path / "m.safetensors")
    (tmp_path / "m.txt").write_text("other\nN2\n")
    before = bytes_of(model)
    assert embed_entities(vocabulary, model, f"{tmp_path}/m.safetensors") == 1
    assert embed_entities(vocabulary, model) == 1
    assert embed_entities(vocabulary, model) == 0
    assert {name: value for name, value in bytes_of(model).items() if name in before} == before
    entities = Entities.load(model)
    assert entities.ids[6:] == ["N2", "N1"]
    found = entities.embeddings(torch.tensor([6, 7]))
    assert found[0].tolist() == [0.5] * WIDTH
    encoder = tamis.families.open_encoder(f"dyvo:{model}?device=cpu")
    static = encoder.document.model.get_input_embeddings().weight
    ids = [encoder.formats[0].tokenizer.id_of(token) for token in ("[CLS]", "the", "soup", "[SEP]")]
    torch.testing.assert_close(found[1], static[ids].mean(0))
    vocabulary = vocabulary.add([Entity("N3", "a sieve", "of fine weight")])
    dense = sentence_model(tmp_path / "dense")
    assert embed_entities(vocabulary, model, f"dense:{dense}?device=cpu") == 1
    with pytest.raises(UsageError, match="tokens"):
        embed_entities(vocabulary.add([Entity("N4", "x")]), model, "wikipedia")
    (tmp_path / "m.txt").write_text("other\n")
    with pytest.raises(DataError, match="1 ids for the 2 rows"):
        embed_entities(vocabulary.add([Entity("N5", "x")]), model, f"{tmp_path}/m.safetensors")


def test_an_ambiguous_name_finds_the_entity_s_documents(place: Path, mlm: Path, entities: Sequence[Entity]) -> None:
    """By hand: what is asked for is the element. Its document has another name for it; others are full of the name's pieces."""
    import torch

    held = {
        "fragments": "mercury mercury mercury of the liquid soup",
        "planet": "mercury the planet of the cook",
        "element": "a soup of quicksilver",
    }
    proposed = [(held["element"], "Q2"), (held["planet"], "Q1"), ("mercury", "Q2")]
    given = place / "given.jsonl"
    given.write_text("".join(f'{{"text": "{text}", "entities": ["{name}"]}}\n' for text, name in proposed))
    model = tamis.families.open_encoder(f"dyvo:{place}/model?device=cpu")

    def direction(side: Any, text: str) -> Any:
        ids = torch.tensor([model.formats[0].tokenizer.raw.encode(text).ids])
        return torch.nn.functional.normalize(side.states(ids, None, None)[0][0, 0], dim=0)

    with torch.inference_mode():  # what training would reach: an entity lies where its texts lie, and is heard
        rows = {name: direction(model.document, text) for text, name in proposed[:2]}
        rows["Q2"] = rows["Q2"] + direction(model.query, "mercury")
        embeddings = torch.stack([rows.get(entity.id, torch.zeros(WIDTH)) for entity in entities])
    hand = dyvo.create(
        mlm, dyvo.Recipe(), Entities([entity.id for entity in entities], embeddings), seed=1, device="cpu"
    )
    with torch.no_grad():
        for side in (hand.document, hand.query):
            side.ent_weight.fill_(20.0)
    hand.save(place / "hand")
    words = f"dyvo:{place}/hand?device=cpu"
    joint = f"{words}&entities={place}/vocabulary&linker=given:{given}"
    with tamis.Index.create(place / "names") as made:
        made.add([{"id": name, "text": text} for name, text in held.items()])
        made.add_part(words, "words")
        made.add_part(joint, "joint")
        assert made.rank("mercury", 3, pipeline=words)["1"][0].id != "element"
        assert made.rank("mercury", 3, pipeline=joint)["1"][0].id == "element"
