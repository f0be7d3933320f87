"""A small vocabulary, and tiny models made on the fly."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tamis.entities.vocabulary import Entity, EntityVocabulary

ENTITIES = [
    Entity("Q1", "Mercury (planet)", "the planet nearest to the sun", "Planet", {"Hermes": 2.0}, 6.0),
    Entity("Q2", "Mercury (element)", "a metal that is liquid", "Element", {"quicksilver": None}, 3.0),
    Entity("Q3", "Mercury", "a god of trade, messenger of Jupiter", "Deity", {"Hermes": 6.0}, 1.0),
    Entity("Q4", "New York", "a state of the north east", "Region"),
    Entity("Q5", "New York City", "a city of five boroughs", "City", {"Big Apple": None}),
    Entity("Q6", "It", "a novel of a clown", "Book"),
]


def helpers(name: str) -> ModuleType:
    """A module of the encoders' tests."""
    path = Path(__file__).parent.parent / "encoders" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"encoders_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def entities() -> list[Entity]:
    return ENTITIES


@pytest.fixture
def vocabulary(tmp_path: Path) -> EntityVocabulary:
    return EntityVocabulary.build(ENTITIES, tmp_path / "vocabulary")


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Path]:
    return helpers("conftest").save_tiny


@pytest.fixture(scope="session")
def sentence_model() -> Callable[..., Path]:
    return helpers("conftest").save_sentence_model
