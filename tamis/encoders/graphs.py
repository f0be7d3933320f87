"""Exported graphs below the cache's folder: made once, whole or not at all, and few of them.

A graph lies in a folder under a name that holds all that decides it, so that backends, precisions and processes share it
(`tamis.encoders.runners`): its weights are float32, and converted when it is opened.
"""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from tamis.database import cache_folder
from tamis.errors import ModelError
from tamis.files import sha256_json, storage_errors

KEPT = 8
"""Exports that the cache holds; the one not opened for longest goes."""
FUSED = "fused.onnx"


def kept_export(decides: Any, last: str, write: Callable[[Path], None]) -> tuple[Path, Any]:
    """Return the folder of an export, and what must live as long as the folder is needed, where there is no cache.

    Args:
        decides: all that the export depends on, as JSON.
        last: the file that `write` writes last.
        write: writes it to an empty folder.

    Raises:
        StorageError: the disk is full or refuses the write.
    """
    home = cache_folder()
    if home is None:
        scratch = tempfile.TemporaryDirectory(prefix="tamis-")
        write(Path(scratch.name))
        return Path(scratch.name), scratch
    folder = home / "onnx" / sha256_json(decides)[:32]
    if not (folder / last).exists():
        with storage_errors(folder):
            _publish(folder, last, write)
    folder.touch()
    return folder, None


def _publish(folder: Path, last: str, write: Callable[[Path], None]) -> None:
    """Export to a folder of its own, and give it its name when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    scratch.mkdir()
    try:
        write(scratch)
        if not folder.exists():
            scratch.rename(folder)
    except OSError:
        if not (folder / last).exists():  # else another process was sooner
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    others = [path for path in folder.parent.iterdir() if not path.name.startswith(".") and path != folder]
    for path in sorted(others, key=lambda path: path.stat().st_mtime)[: max(0, len(others) + 1 - KEPT)]:
        shutil.rmtree(path, ignore_errors=True)


def fused_graph(source: Path, heads: int, width: int) -> Path:
    """Return a graph with operators of ONNX Runtime's own in place of what makes up attention and layers' ends; made once.

    They take a fifth off long inputs. What is not recognised as an encoder of BERT's kind stays as it is.

    Args:
        source: the graph; the other is written beside it.
        heads: of its attention.
        width: of its states.

    Raises:
        ModelError: the graph is damaged, or nothing that can be fused.
        StorageError: the disk is full or refuses the write.
    """
    path = source.with_name(FUSED)
    if path.exists():
        return path
    from onnxruntime.transformers import optimizer

    try:
        with _quiet():
            fused = optimizer.optimize_model(
                str(source), model_type="bert", num_heads=heads, hidden_size=width, opt_level=0
            )
    except Exception as error:  # a graph that it trips over, or a damaged one
        raise ModelError(
            f"{source} cannot be fused for ONNX Runtime: {error}; delete {source.parent}, and it is exported anew, or take "
            "another backend"
        ) from error
    with storage_errors(path):
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        fused.save_model_to_file(str(scratch))
        scratch.replace(path)
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Swallow what the optimizer prints and warns of where it cannot fuse something: no fault, and output is the caller's."""
    before = logging.root.manager.disable
    logging.disable(
        max(before, logging.WARNING)
    )  # its modules log under names of their own, such as fusion_skiplayernorm
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
