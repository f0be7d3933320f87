"""`tamis doctor`: what this installation consists of, what is wrong with it, and the exact fix."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tamis._version import __version__
from tamis.cli.session import Session
from tamis.errors import EXIT_PREREQUISITE, PrerequisiteError

PYTHON = ((3, 11), (3, 14))
"""Lowest version that works, and the first that is not tried."""

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([^;]*)(;.*)?")
_FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and how to repair it where that is needed."""

    name: str
    found: str
    fix: str = ""


def doctor(session: Session) -> None:
    """Check this installation, and say how to repair it.

    Java is started for a moment, to see that it does; the other heavy libraries are looked up, not loaded. Something that is
    missing is exit code 3.

    Example: tamis doctor
    """
    from tamis.cli.drawing import write_pairs

    checks = [*_machine(), *_dependencies(), *_faiss(), *_torch(), *_java()]
    session.results = [asdict(check) for check in checks]
    write_pairs(session, [(check.name, check.found) for check in checks])
    broken = [check for check in checks if check.fix]
    session.metrics.update(checks=len(checks), broken=len(broken))
    for check in broken:
        session.fail("PrerequisiteError", f"{check.name}: {check.found}; {check.fix}", EXIT_PREREQUISITE)
    if not broken:
        session.note("all is well")


def _machine() -> Iterator[Check]:
    low, high = PYTHON
    fits = low <= sys.version_info[:2] < high
    wanted = f"Tamis runs on Python {low[0]}.{low[1]} to {high[0]}.{high[1] - 1}: make an environment with one of these"
    yield Check("tamis", __version__)
    yield Check("python", f"{platform.python_version()} ({sys.executable})", "" if fits else wanted)
    yield Check("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("processors", f"{cores} to use of {os.cpu_count()}")
    from tamis.cli.drawing import format_bytes

    yield Check("memory", format_bytes(size) if (size := _memory()) else "unknown")
    disk = shutil.disk_usage(Path.cwd())
    yield Check("disk", f"{format_bytes(disk.free)} free of {format_bytes(disk.total)} at {Path.cwd()}")


def _memory() -> int:
    """Return the memory that this process may use: the machine's, or its control group's limit where that is lower."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text("ascii")))
    except (OSError, ValueError):  # no control group, or "max"
        return total


def _dependencies() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, requires

    try:
        declared = requires("tamis") or []
    except PackageNotFoundError:
        yield Check("dependencies", "unknown: Tamis runs from its source tree, not from an installation")
        return
    for line in declared:
        if "extra ==" in line:
            continue
        match = _REQUIREMENT.fullmatch(line)
        if match is None or match[1] in _FAISS:
            continue
        name, wanted = match[1], (match[2] or "").strip()
        found = _version(name)
        fix = f'install it with: pip install "{name}{wanted}"'
        yield Check(name, found or f"not installed, {wanted or 'any version'} is needed", "" if found else fix)


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _faiss() -> Iterator[Check]:
    found = {name: known for name in _FAISS if (known := _version(name))}
    text = ", ".join(f"{name} {known}" for name, known in found.items())
    if not found:
        yield Check("faiss", "not installed", "install it with: pip install faiss-cpu")
    elif len(found) > 1:
        kept, *others = sorted(found, key=lambda name: name == "faiss-cpu")  # who installs a GPU's wants it
        way = f"pip uninstall {' '.join(others)}, then pip install --force-reinstall --no-deps {kept}"
        yield Check("faiss", f"{text}: they overwrite each other", f"keep one: {way}")
    else:
        yield Check("faiss", f"{text} ({'CPU' if 'faiss-cpu' in found else 'GPU'})")


def _torch() -> Iterator[Check]:
    found = _version("torch")
    if found is None:
        return  # reported among the dependencies
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    build = (
        "a build without CUDA" if found.endswith("+cpu") else "may use CUDA" if driver else "no NVIDIA driver is here"
    )
    yield Check("gpu", f"{'NVIDIA driver present' if driver else 'none found'}; torch {found}: {build}")


def _java() -> Iterator[Check]:
    from tamis.indexer.lucene.jvm import DEFAULT_HEAP, HEAP_VARIABLE, find_jar, find_jvm, java

    try:
        yield Check("lucene jar", str(find_jar()))
        yield Check("java machine", str(find_jvm()))
        system = java("java.lang.System")
        version, vendor = (str(system.getProperty(name)) for name in ("java.version", "java.vendor"))
        yield Check("java", f"{version} ({vendor}), heap {os.environ.get(HEAP_VARIABLE, DEFAULT_HEAP)}")
        yield Check("lucene", str(java("org.apache.lucene.util.Version").LATEST.toString()))
    except PrerequisiteError as error:
        problem, _, fix = str(error).partition(": ")
        yield Check("java", problem, fix or str(error))
