"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# no test asserts seconds, and a busy machine is no fault
settings.register_profile("tamis", deadline=None)
settings.load_profile("tamis")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def collections() -> Path:
    """Folder of the real test collections: ``$TAMIS_COLLECTIONS``, or ``shared/collections`` beside the project."""
    folder = Path(os.environ.get("TAMIS_COLLECTIONS", REPOSITORY.parent / "shared" / "collections"))
    if not (folder / "cacm").is_dir():
        pytest.skip(f"the real collections are not at {folder}; set TAMIS_COLLECTIONS to run this test")
    return folder


@pytest.fixture
def require() -> Callable[..., None]:
    """Skips where a backend of exported models cannot run: ``require("openvino", "bfloat16")``."""
    from tamis.encoders.runners import require_backend
    from tamis.errors import PrerequisiteError

    def check(backend: str, dtype: str = "float32") -> None:
        try:
            require_backend(backend, dtype)
        except PrerequisiteError as error:
            pytest.skip(str(error))

    return check
