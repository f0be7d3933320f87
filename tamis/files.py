"""Durable writes: every file that Tamis leaves behind goes through here.

A file is written under a temporary name in its own folder, flushed to the device, renamed over the final name, and the
folder is flushed too; a crash leaves the old file or the new one, never a part of one. Library code does not call
`open(…, "w")`, `Path.write_text` or `np.save` on a final name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tamis.errors import OutputExistsError, StorageError

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 1 << 20


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush one closed file's contents to the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file below `folder`, and the folders themselves."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(parent, name))
        sync_folder(Path(parent))


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the file system's refusals (disk full, read-only, quota) into `StorageError` with a way out."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"no space left while writing {path}: free some and run the same command again"
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise StorageError(
                f"cannot write {path}: {error.strerror}; check its permissions or choose another folder"
            ) from error
        raise


@contextlib.contextmanager
def atomic_write(path: Path | str, *, text: bool = False, overwrite: bool = True) -> Iterator[IO[Any]]:
    """Open a temporary neighbour of `path` for writing; on a clean exit it becomes `path`.

    Args:
        path: the final name. Its folder must exist.
        text: open in UTF-8 text mode, lines ended by a line feed, rather than in binary mode.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false (checked before anything is written).
        StorageError: the disk is full or refuses the write.
    """
    final = Path(path)
    if not overwrite and final.exists():
        raise OutputExistsError(f"{final} exists: choose another name, or pass --force to overwrite it")
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(final):
        try:
            mode, options = ("x", {"encoding": "utf-8", "newline": "\n"}) if text else ("xb", {})
            with temporary.open(mode, **options) as handle:  # type: ignore[call-overload]
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(final)
            sync_folder(final.parent)
        finally:
            temporary.unlink(missing_ok=True)


def replace_folder(new: Path, old: Path) -> None:
    """Put the folder `new` in the place of `old`, which is removed once `new` stands there."""
    aside = old.with_name(f".{old.name}.{uuid.uuid4().hex[:8]}.old")
    with storage_errors(old):
        old.rename(aside)
        new.rename(old)
        sync_folder(old.parent)
    shutil.rmtree(aside, ignore_errors=True)


def write_json(path: Path, value: object, *, overwrite: bool = True) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    with atomic_write(path, text=True, overwrite=overwrite) as handle:
        json.dump(value, handle, indent=1, sort_keys=True, ensure_ascii=False)
        handle.write("\n")


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write one array as ``.npy`` (C order, no pickle), atomically."""
    import numpy as np

    whole = np.ascontiguousarray(array)
    if whole.dtype.hasobject:
        raise ValueError(f"arrays of dtype {whole.dtype} would need pickle, which Tamis never writes")
    with atomic_write(path) as handle:
        # not write_array: it bypasses the handle, and on a full disk raises an error that does not say so
        np.lib.format.write_array_header_1_0(handle, np.lib.format.header_data_from_array_1_0(whole))
        handle.write(whole.data)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's contents."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def canonical_json(value: object) -> str:
    """One spelling of a JSON value: sorted keys, no white space. Hashes are taken over this."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256_json(value: object) -> str:
    """Hex SHA-256 of a JSON value's canonical spelling."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Give a file that never changes a second name; copy it where the file system has no links or is another one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
