"""The public face: what `import tamis` offers, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import tamis

HEAVY = (
    "torch",
    "pyarrow",
    "scipy",
    "jpype",
    "faiss",
    "transformers",
    "sentence_transformers",
    "ir_measures",
    "pandas",
)


def loaded_by(code: str) -> list[str]:
    """Names of the top-level modules that a fresh interpreter holds after `code`."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout.splitlines()[-1])


def test_exports_are_sorted_and_there() -> None:
    assert tamis.__all__ == sorted(tamis.__all__)
    for name in tamis.__all__:
        assert getattr(tamis, name) is not None
    assert set(tamis.__all__) <= set(dir(tamis))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        tamis.no_such_name  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    assert not set(HEAVY) & set(loaded_by("import tamis"))


def test_reading_the_public_names_loads_nothing_heavy() -> None:
    assert not set(HEAVY) & set(loaded_by("import tamis\nfor name in tamis.__all__: getattr(tamis, name)"))
