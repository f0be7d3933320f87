"""The toy model, and indexes whose segments are encoded in several chunks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import tamis
from tamis.indexer.encoded import job


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    return load("toy")


@pytest.fixture
def chunks_of_16(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(job, "CHUNK_ROWS", 16)
    return 16


@pytest.fixture
def encoded(built: tamis.Index, toy: ModuleType, chunks_of_16: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an index of 120 documents in three segments, with the part ``toy``."""
    monkeypatch.setattr("tamis.indexer.writer.open_encoder", lambda address: toy.ToyEncoder())
    path = built.path
    built.close()
    return path
