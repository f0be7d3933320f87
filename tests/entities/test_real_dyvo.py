"""DyVo end to end on real text: abstracts as documents, names as queries, entities found by the automaton."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tamis
from tamis.encoders import dyvo
from tamis.encoders.sparse_entities import Entities
from tamis.entities.linking import LinkedEntities, open_linker
from tamis.entities.vocabulary import EntityVocabulary, read_entities

pytestmark = pytest.mark.real
WIDTH = 32


def save_model(folder: Path, tiny: Callable[..., Path], ids: list[str]) -> Path:
    """A random model that hears every entity alike: one coordinate of all states is large, and all embeddings lie there."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    torch.manual_seed(0)
    mlm = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(tiny(folder / "mlm")))
    mlm.save_pretrained(folder / "mlm")
    embeddings = torch.zeros(len(ids), WIDTH)
    embeddings[:, 0] = 1.0
    model = dyvo.create(folder / "mlm", dyvo.Recipe(), Entities(ids, embeddings), device="cpu")
    with torch.no_grad():
        for side in (model.document, model.query):
            bert: Any = getattr(side.model, "bert", side.model)
            bert.encoder.layer[-1].output.LayerNorm.weight[0] = 0.0
            bert.encoder.layer[-1].output.LayerNorm.bias[0] = 8.0
            side.ent_weight.fill_(20.0)
    model.save(folder / "model")
    return folder / "model"


def test_a_name_finds_the_documents_of_its_entity(tmp_path: Path, collections: Path, tiny: Callable[..., Path]) -> None:
    entities = list(read_entities(collections / "dbpedia14-entities" / "entities.jsonl.gz"))
    vocabulary = EntityVocabulary.build(entities, tmp_path / "v")
    model = save_model(tmp_path, tiny, [entity.id for entity in entities])
    chosen = random.Random(2).sample(range(len(entities)), 240)
    proposed = LinkedEntities(vocabulary, open_linker("alias", vocabulary), 20)
    linked = dict(zip(chosen, proposed([entities[i].description for i in chosen]), strict=True))
    assert sum(map(bool, linked.values())) > 200  # most abstracts say what they are about
    queries = {str(i): re.sub(r"\s*\([^()]*\)$", "", entities[i].title) for i in chosen[:80]}
    address = f"dyvo:{model}?entities={vocabulary.folder}&linker=alias&device=cpu"
    with tamis.Index.create(tmp_path / "index") as index:
        index.add([{"id": str(i), "text": entities[i].description} for i in chosen])
        index.add_part(address, "joint")
        share = index.manifest.parts["joint"]["facts"]["statistics"]["entity_share"]
        assert share == pytest.approx(sum(map(bool, linked.values())) / len(chosen), abs=1e-4)
        ranking = index.rank(queries, 240, pipeline=address)
    asked = dict(zip(queries, proposed(list(queries.values())), strict=True))
    answered = 0
    for query, names in asked.items():
        sharing = {str(i) for i, own in linked.items() if set(own) & set(names)}
        assert {hit.id for hit in ranking[query][: len(sharing)]} == sharing, query
        answered += bool(sharing)
    assert answered > 60
