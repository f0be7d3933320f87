"""What runs exported graphs: threads, what a processor can do, and what is said where something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tamis.encoders import runners
from tamis.encoders.registry import open_encoder
from tamis.errors import PrerequisiteError, UsageError


@pytest.fixture
def model_folder(tmp_path: Path, sentence_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    return sentence_model(tmp_path / "model")


X86 = "processor\t: 0\nmodel name\t: one\nflags\t\t: fpu avx512f {}\n\nprocessor\t: 1\nflags\t\t: fpu avx512f {}\n"


@pytest.mark.parametrize(
    ("text", "has"),
    [
        (X86.format("avx512_bf16", "avx512_bf16"), True),
        (X86.format("amx_bf16", "amx_bf16"), True),
        (X86.format("avx512_vnni", "avx512_vnni"), False),
        ("model name\t: a bf16 machine\nflags\t\t: fpu\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n", True),
        ("", False),
    ],
)
def test_what_multiplies_bfloat16(tmp_path: Path, text: str, has: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert runners.multiplies_bfloat16(path) is has
    assert not runners.multiplies_bfloat16(tmp_path / "none")


def test_a_processor_without_it_is_told_so_before_any_export(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(runners, "multiplies_bfloat16", lambda: False)
    with pytest.raises(PrerequisiteError, match="take dtype=float32"):
        open_encoder(f"dense:{model_folder}?backend=openvino&dtype=bfloat16")
    assert not (tmp_path / "cache" / "onnx").exists()


WITHOUT = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "openvino":
            return None
        return next((found for one in known if (found := one.find_spec(name, path, target))), None)
known, sys.meta_path[:] = sys.meta_path[:], [Finder()]
from tamis.errors import PrerequisiteError
from tamis.encoders.registry import open_encoder
try:
    open_encoder(sys.argv[1])
except PrerequisiteError as error:
    print(error)
"""


def test_without_the_package_the_extra_is_named(model_folder: Path) -> None:
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WITHOUT, f"dense:{model_folder}?backend=openvino"]
    done = subprocess.run(command, env=here, capture_output=True, text=True, check=True)
    assert "pip install 'tamis[openvino]'" in done.stdout


@pytest.mark.parametrize(("stated", "threads"), [("", 0), ("3", 3), (" 2,1", 2)])
def test_threads_are_those_of_openmp(monkeypatch: pytest.MonkeyPatch, stated: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert runners.wanted_threads() == threads


@pytest.mark.parametrize("stated", ["0", "-1", "many"])
def test_a_wrong_number_of_threads_is_refused(model_folder: Path, monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    with pytest.raises(UsageError, match="OMP_NUM_THREADS"):
        open_encoder(f"dense:{model_folder}?backend=onnx")


RUN = """
import sys
from pathlib import Path
import numpy as np
from tamis.encoders.runners import open_runner
run = open_runner(Path(sys.argv[1]), sys.argv[2], "float32")
table = np.ones((2, 8), np.int64)
assert run({"ids": table, "mask": table}).shape[:2] == (2, 8)
print(len(list(Path("/proc/self/task").iterdir())))
"""


@pytest.mark.parametrize("backend", runners.PRECISIONS)
def test_as_many_threads_run_as_are_wanted(model_folder: Path, tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    if not Path("/proc/self/task").exists() or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("threads are counted in /proc, and OpenVINO starts no more than there are cores")
    open_encoder(f"dense:{model_folder}?backend=onnx")
    (graph,) = (tmp_path / "cache" / "onnx").glob("*/model.onnx")
    counts = []
    for threads in ("1", "2"):
        numbers = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"}  # NumPy's own would count
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **numbers}
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(graph), backend], env=here, capture_output=True, text=True, check=True
        )
        counts.append(int(done.stdout))
    assert counts[1] - counts[0] == 1
