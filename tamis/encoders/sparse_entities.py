"""The vocabulary of entities that a sparse encoder weighs beside word pieces: ids, and an embedding each.

    entities/0000.txt           ids, one a line
    entities/0000.safetensors   embeddings, [entities, width], in the order of the ids
    entities/0001.txt …         entities that were added later

An entity keeps its row for good, so that vectors made before others were added mean the same afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from tamis.errors import DataError, ModelError

FOLDER, TENSOR = "entities", "embeddings"


class Entities:
    """Ids and frozen embeddings; these stay in the processor's memory, or on disk until they are looked up.

    Args:
        ids: of the entities, distinct.
        embeddings: [entities, width], of any floating type.

    Raises:
        DataError: ids are not distinct or not one line each, or there is not one embedding for each.
    """

    def __init__(self, ids: Sequence[str], embeddings: torch.Tensor) -> None:
        self.ids, self._rows = list[str](), dict[str, int]()
        self._blocks, self._starts = list[torch.Tensor](), list[int]()
        if embeddings.ndim != 2:
            raise DataError(f"embeddings of shape {list(embeddings.shape)}: [entities, width] is wanted")
        self.width = int(embeddings.shape[1])
        self.add(ids, embeddings)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sizes(self) -> list[int]:
        """How many entities came at a time."""
        return [len(block) for block in self._blocks]

    def add(self, ids: Sequence[str], embeddings: torch.Tensor) -> None:
        """Add entities behind those that are there; errors as of the class."""
        if tuple(embeddings.shape) != (len(ids), self.width):
            raise DataError(f"embeddings of shape {list(embeddings.shape)} for {len(ids)} ids of width {self.width}")
        bad = next((name for name in ids if name.splitlines() != [name]), None)
        if bad is not None:
            raise DataError(f"entity {bad!r}: an id is one line")
        rows = {name: len(self) + place for place, name in enumerate(ids)}
        twice = next((name for name in ids if name in self._rows), None)
        if twice is not None or len(rows) != len(ids):
            raise DataError(f"entities must be distinct, and {twice or 'one of those given'!r} is there already")
        self._starts.append(len(self))
        self._blocks.append(embeddings)
        self._rows |= rows
        self.ids += ids

    def rows(self, names: Sequence[str]) -> list[int]:
        """Return the rows of entities in the order given, each once; names that are not known are left out."""
        return list(dict.fromkeys(self._rows[name] for name in names if name in self._rows))

    def embeddings(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of rows.

        Args:
            rows: int64 of any shape on the processor; below 0: none, all zeros.

        Returns:
            float32 [*rows.shape, width], without gradients.
        """
        flat = rows.reshape(-1)
        found = torch.zeros(len(flat), self.width)
        for start, block in zip(self._starts, self._blocks, strict=True):
            inside = (flat >= start) & (flat < start + len(block))
            found[inside] = block[flat[inside] - start].float()
        return found.view(*rows.shape, self.width)

    def save(self, folder: Path) -> None:
        """Write the entities below the folder of a checkpoint; see the module."""
        from safetensors.torch import save_file

        place = folder / FOLDER
        place.mkdir(parents=True, exist_ok=True)
        ends = [*self._starts[1:], len(self)]
        for number, (start, end, block) in enumerate(zip(self._starts, ends, self._blocks, strict=True)):
            (place / f"{number:04}.txt").write_text("".join(f"{name}\n" for name in self.ids[start:end]), "utf-8")
            save_file({TENSOR: block.contiguous()}, place / f"{number:04}.safetensors")

    @classmethod
    def append(cls, folder: Path, ids: Sequence[str], embeddings: torch.Tensor) -> Entities:
        """Add entities to a checkpoint as a block of their own, and return all; no other file changes.

        Raises:
            DataError: they do not fit those that are there.
            ModelError: there are none yet.
        """
        from safetensors.torch import save_file

        from tamis.files import atomic_write

        found = cls.load(folder)
        found.add(ids, embeddings)
        place = folder / FOLDER / f"{len(found.sizes) - 1:04}"
        save_file({TENSOR: embeddings.contiguous()}, place.with_suffix(".safetensors"))
        with atomic_write(place.with_suffix(".txt"), text=True) as out:  # last: a block without it is not there
            out.writelines(f"{name}\n" for name in ids)
        return found

    @classmethod
    def load(cls, folder: Path) -> Entities:
        """Read the entities of a checkpoint.

        Raises:
            ModelError: there are none, or they are damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        lists = sorted((folder / FOLDER).glob("*.txt"))
        if not lists:
            raise ModelError(f"{folder} holds no entities: {FOLDER}/0000.txt is wanted, and the embeddings beside it")
        found: Entities | None = None
        for path in lists:
            try:
                ids = path.read_text("utf-8").split("\n")[:-1]
                block = load_file(path.with_suffix(".safetensors"))[TENSOR]
                if found is None:
                    found = cls(ids, block)
                else:
                    found.add(ids, block)
            except (OSError, KeyError, ValueError, SafetensorError, DataError) as error:
                raise ModelError(f"the entities of {path.with_suffix('')} cannot be used: {error}") from error
        assert found is not None  # noqa: S101 - there was a list
        return found
