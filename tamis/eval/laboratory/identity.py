"""What a stage is, by content, without loading it: its address, and the files that the address names.

Two stages of equal identity over the same generation of an index give the same results. The files of a checkpoint are hashed
(and the hashes remembered); a model of the hub that was downloaded is known by the files that came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tamis.encoders.checkpoints import MINILM, is_hub_id, locate_checkpoint
from tamis.families import Address, family
from tamis.files import sha256_json

_WRITTEN = frozenset({"record"})
"""Options that name files which a stage writes: what is in them is no input of it."""

_JOINT = re.compile(r"[+,;]")  # between the ids of a model that is made of several

HashOf = Callable[[Path], str]


def stage_identity(address: Address, hash_of: HashOf) -> str:
    """Return a digest of an address and of everything on this machine that it names."""
    return sha256_json([str(address), dict(_contents(address, hash_of))])


def checkpoint_ids(address: Address) -> list[str]:
    """Return the ids of checkpoints that an address names, of a family that loads checkpoints."""
    options = family(address.family).Options.__dataclass_fields__
    if not address.id or not {"device", "endpoint"} & set(options):  # who runs a model says where
        return []
    if "endpoint" in options and dict(address.options).get("backend") != "local":
        return []  # the model runs elsewhere
    return [part for part in _JOINT.split(address.id) if part]


def to_download(address: Address) -> list[str]:
    """Return the models of the hub that an address needs and this machine has not."""
    return [one for one in _absent(address) if is_hub_id(one)]


def missing_models(address: Address) -> list[str]:
    """Return the models that an address needs, and that are neither here nor of the hub."""
    # without its package the offline model has an error of its own, which says what to install
    return [one for one in _absent(address) if not is_hub_id(one) and one != MINILM]


def _absent(address: Address) -> list[str]:
    return [
        one
        for one in checkpoint_ids(address)
        if not _exists(Path(one).expanduser()) and locate_checkpoint(one, address.revision) is None
    ]


def _contents(address: Address, hash_of: HashOf) -> Iterator[tuple[str, str]]:
    named = checkpoint_ids(address) or [address.id]
    for one in [*named, *(value for name, value in address.options if name not in _WRITTEN)]:
        folder = locate_checkpoint(one, address.revision) if one in named else None
        path = folder or Path(one).expanduser()
        if one and (folder is not None or _exists(path)):
            files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            yield one, sha256_json([[file.relative_to(path).as_posix(), hash_of(file)] for file in files])


def _exists(path: Path) -> bool:
    try:
        return path.exists() and path != Path()
    except OSError:  # a text too long to be a name
        return False
