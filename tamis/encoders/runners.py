"""What runs an exported graph on a processor: ONNX Runtime, or OpenVINO, which also multiplies in bfloat16.

Both use as many threads as the machine has cores, or as ``OMP_NUM_THREADS`` says, as torch does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.errors import ModelError, PrerequisiteError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

Runner = Callable[[Mapping[str, NDArray[np.int64]]], NDArray[np.float32]]
"""Maps the named inputs of a padded batch, int64 [texts, tokens] each, to float32 [texts, …]. For one thread at a time."""

PRECISIONS = {"onnx": ("float32",), "openvino": ("float32", "bfloat16")}
"""Backends that run exported graphs, and the precisions that each can multiply matrices in."""

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""What Linux calls it where a processor multiplies bfloat16, on x86-64 and on Arm."""


def open_runner(graph: Path, backend: str, dtype: str) -> Runner:
    """Open an exported graph.

    Args:
        graph: the file.
        backend: one of `PRECISIONS`.
        dtype: one of that backend's precisions.

    Raises:
        PrerequisiteError: the backend's package is missing, or the processor lacks the precision.
        ModelError: the graph is damaged.
    """
    require_backend(backend, dtype)
    opened = _open_onnx if backend == "onnx" else _open_openvino
    try:
        return opened(graph, dtype)
    except (PrerequisiteError, UsageError):
        raise
    except Exception as error:  # the libraries' errors share no base
        raise ModelError(f"{graph} is damaged: {error}; delete {graph.parent}, and it is exported anew") from error


def require_options(address: object, backend: str, dtype: str, device: str) -> None:
    """Check that an exported model can run as its options say, before any work is done for it.

    Raises:
        UsageError: the backend has no such precision, or does not run on that device.
        PrerequisiteError: as `require_backend` says.
    """
    known = PRECISIONS[backend]
    if dtype not in known or device not in ("auto", "cpu"):
        raise UsageError(
            f"{address}: backend={backend} runs {' or '.join(known)} on a processor; take backend=torch for dtype={dtype}, "
            f"device={device}"
        )
    require_backend(backend, dtype)


def require_backend(backend: str, dtype: str) -> None:
    """Check that a backend can run here in a precision, before any work is done for it.

    Raises:
        PrerequisiteError: the backend's package is missing, or the processor would have to imitate the precision.
    """
    if backend == "openvino" and find_spec("openvino") is None:
        raise PrerequisiteError("backend=openvino needs OpenVINO: install it with  pip install 'tamis[openvino]'")
    if dtype == "bfloat16" and not multiplies_bfloat16():
        raise PrerequisiteError(
            f"backend={backend} with dtype=bfloat16: this processor has no instructions for it (avx512_bf16, amx_bf16, or bf16 "
            "on Arm) and would imitate them slowly: take dtype=float32"
        )


def multiplies_bfloat16(description: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions for products of bfloat16; not known, and so False, outside Linux."""
    try:
        lines = description.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(
        not _BFLOAT16.isdisjoint(line.partition(":")[2].split())
        for line in lines
        if line.partition(":")[0].strip() in ("flags", "Features")
    )


def wanted_threads() -> int:
    """Return what ``OMP_NUM_THREADS`` says; 0, which leaves it to the library, where it says no number.

    Raises:
        UsageError: it holds something else than a positive number.
    """
    stated = (
        os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    )  # a number a level, of which the first counts
    if not stated:
        return 0
    if not stated.isdecimal() or int(stated) < 1:
        raise UsageError(f"OMP_NUM_THREADS={stated!r} is not a number of threads: set it to 1 or more, or leave it out")
    return int(stated)


def _open_onnx(graph: Path, dtype: str) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = wanted_threads()
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        results: NDArray[np.float32] = session.run(None, dict(inputs))[0]
        return results

    return run


def _open_openvino(graph: Path, dtype: str) -> Runner:
    with _without_telemetry():
        import openvino
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[dtype], "PERFORMANCE_HINT": "LATENCY"}
    if threads := wanted_threads():
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    compiled = core.compile_model(str(graph), "CPU", settings)
    request = compiled.create_infer_request()

    def run(inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        results: NDArray[np.float32] = request.infer(dict(inputs))[0]
        return results

    return run


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hide the package ``openvino_telemetry``.

    With it `import openvino` reports itself over the network, and keeps an id in the user's home. Without, OpenVINO takes a
    stub of its own that does nothing, for as long as the process lives.
    """
    name = "openvino_telemetry"
    known = sys.modules.get(name)
    if "openvino" in sys.modules:  # somebody else's choice
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails now, as if it were not installed
    try:
        yield
    finally:
        del sys.modules[name]
        if known is not None:
            sys.modules[name] = known
