"""Opening what a user names as a source: plain or gzipped files, by path; and saying clearly what is wrong with them.

A source is a path or an ir_datasets id; a path that exists wins. Compression is recognised by the gzip magic number, never
by the name, so a renamed file still reads.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from tamis.errors import DataError, MissingResourceError
from tamis.files import sha256_file

_GZIP_MAGIC = b"\x1f\x8b"
_BUFFER = 1 << 18
_HEAD = 1 << 16
_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open a plain or gzipped file for reading.

    Raises:
        MissingResourceError: it cannot be opened.
        DataError: it is gzipped and truncated or damaged (also while it is being read).
    """
    try:
        raw = path.open("rb", buffering=_BUFFER)
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error.strerror}") from error
    with raw:
        zipped = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            yield raw
            return
        try:
            # A buffered reader on top, because iterating over a GzipFile itself runs Python code for every line.
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path}: the gzip file is damaged or cut short ({error}); fetch or make it again"
            ) from error


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, raw line with its end) for every line; a leading UTF-8 byte-order mark is dropped."""
    with open_binary(path) as handle:
        first = handle.readline()
        if first:
            yield 1, first.removeprefix(_BOM)
        yield from enumerate(handle, 2)


def head(path: Path) -> bytes:
    """Return the first bytes (up to 64 KiB) of a file's contents, without byte-order mark and leading white space."""
    with open_binary(path) as handle:
        return handle.read(_HEAD).removeprefix(_BOM).lstrip()


def plain_name(path: Path) -> str:
    """Return the file's name without a final ``.gz``."""
    return path.name.removesuffix(".gz")


def decode_lenient(raw: bytes) -> str:
    """Decode UTF-8, or Latin-1 where the bytes are not UTF-8 (older TREC disks and topics state no encoding)."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which a JSON escape can smuggle in and UTF-8 cannot hold, by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def utf8_problem(error: UnicodeDecodeError) -> str:
    """Describe invalid UTF-8 in one line of a file."""
    return f"invalid UTF-8 at byte {error.start + 1} of the line (0x{error.object[error.start]:02x}); convert the file to UTF-8"


def id_problem(kind: str, value: object) -> str | None:
    """Say what is wrong with an external id, or None; ids stand in white-space separated columns of run files."""
    if not isinstance(value, str):
        return f"{kind} id {value!r}: an id must be a string or a whole number"
    if not value or value.split() != [value]:
        return f"{kind} id {value!r}: an id must not be empty or hold white space"
    if value[0] == "\ufeff" or _SURROGATE.search(value):
        return f"{kind} id {value!r}: an id must not begin with a byte-order mark or hold a lone surrogate"
    return None


def file_fingerprint(path: Path) -> dict[str, str | int]:
    """Return name, size and SHA-256 of a file; the hash is remembered by (path, size, modification time)."""
    state = path.stat()
    return {
        "name": path.name,
        "size": state.st_size,
        "sha256": _remembered_sha256(path.resolve(), state.st_size, state.st_mtime_ns),
    }


@lru_cache(maxsize=4096)
def _remembered_sha256(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_file(path)


def beir_file(folder: Path, name: str) -> Path | None:
    """Return ``FOLDER/NAME`` or ``FOLDER/NAME.gz``, whichever is there (plain first), else None."""
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def source_name(source: str) -> str:
    """Return what a source is called, without this machine's folders: a file's name, ``FOLDER#SPLIT``, or the id as it is."""
    path, mark, split = source.partition("#")
    return f"{Path(path).resolve().name}{mark}{split}" if Path(path).exists() else source


def split_reference(source: str | Path) -> tuple[Path, str] | None:
    """Read ``FOLDER#SPLIT``, a BEIR folder and one of its judged splits; None where the source is not of that form."""
    text = str(source)
    folder, mark, split = text.rpartition("#")
    if not mark or not folder or not split or Path(text).exists() or not Path(folder).is_dir():
        return None
    return Path(folder), split


def split_file(folder: Path, split: str | None) -> Path:
    """Return the qrels file of one split of a BEIR folder; `split` may be None where the folder has only one.

    Raises:
        MissingResourceError: the folder has no such split, or no qrels at all.
        DataError: several splits and none was named.
    """
    found = {
        p.name.removesuffix(".gz").removesuffix(".tsv"): p
        for p in sorted((folder / "qrels").glob("*.tsv*"), reverse=True)
        if p.name.endswith((".tsv", ".tsv.gz"))
    }
    if not found:
        raise MissingResourceError(f"{folder} holds no qrels/SPLIT.tsv[.gz]: name the qrels file itself")
    names = ", ".join(sorted(found))
    if split is None:
        if len(found) > 1:
            raise DataError(f"{folder} has several splits ({names}): name one, for example {folder}#{min(found)}")
        return next(iter(found.values()))
    if split not in found:
        raise MissingResourceError(f"{folder} has no split {split!r}; it has {names}")
    return found[split]
