"""Compile tamis/indexer/lucene/java into tamis/indexer/lucene/tamis-lucene.jar, which is committed.

    python scripts/compile_java.py           compile (needs javac 17 or newer; users of Tamis need none)
    python scripts/compile_java.py --check   exit with 1 if the committed jar was not made from the sources as they are

The jar is the same bytes for the same compiler: no time stamps, entries in order. It carries the SHA-256 of its sources, so
that the check needs no compiler.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tamis.indexer.lucene.jvm import HELPER_JAR, find_jar

SOURCES = HELPER_JAR.parent / "java"
RELEASE = "17"
DIGEST = "META-INF/sources.sha256"


def sources() -> list[Path]:
    """The Java files, in a fixed order."""
    return sorted(SOURCES.rglob("*.java"))


def digest() -> str:
    """One hash over the names and contents of all sources."""
    whole = hashlib.sha256()
    for path in sources():
        whole.update(f"{path.relative_to(SOURCES).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return whole.hexdigest()


def compiled_from(jar: Path) -> str:
    """The hash of the sources that a jar was made from."""
    with zipfile.ZipFile(jar) as archive:
        return archive.read(DIGEST).decode().strip()


def compile_jar() -> bytes:
    """Compile the sources and return the jar."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--release", RELEASE, "-Xlint:all", "-Werror", "-g:none", "-cp", str(find_jar()), "-d", folder]
        subprocess.run(["javac", *flags, *map(str, sources())], check=True)
        entries = {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.class")}
    entries[DIGEST] = f"{digest()}\n".encode()
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(entries):
            archive.writestr(zipfile.ZipInfo(name), entries[name], zipfile.ZIP_DEFLATED)
    return jar.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        current = HELPER_JAR.exists() and compiled_from(HELPER_JAR) == digest()
        if not current:
            print(f"{HELPER_JAR.name} is older than its sources: run python scripts/compile_java.py", file=sys.stderr)
        return 0 if current else 1
    HELPER_JAR.write_bytes(compile_jar())
    print(f"{HELPER_JAR}: {HELPER_JAR.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
