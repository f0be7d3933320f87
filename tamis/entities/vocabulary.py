"""A vocabulary of entities: id, title, aliases, description, type and popularity of each, numbered from 0.

    vocabulary.json     the blocks, in order, with size and SHA-256 of every file
    0000/ …             a block: the entities of one call of `build` or `add`, never changed afterwards

    ids, titles, descriptions, types, aliases       strings: NAME.bin holds them in UTF-8, NAME.npy where each begins (int64)
    alias_starts.npy    int64 [entities + 1]: which aliases are whose
    alias_weights.npy   float32 [aliases]: how often the alias means the entity; NaN: as its popularity says
    popularity.npy      float32 [entities]
    hashes.npy, places.npy      of the ids, as in a document segment

Strings are mapped, not read. Entities are added as a block of their own: those that were there keep their numbers, and what was
computed for a block (see `VocabularyBlock.cached`) stays valid.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis.data.jsonl import RecordProblem, parse_object
from tamis.data.sources import lines
from tamis.errors import BadRecordError, CorruptIndexError, DataError, MissingResourceError, OutputExistsError
from tamis.files import (
    replace_folder,
    sha256_file,
    sha256_json,
    storage_errors,
    sync_folder,
    sync_tree,
    write_array,
    write_json,
)
from tamis.indexer.segment import hash_ids

CARD, VERSION = "vocabulary.json", 1
COLUMNS = ("ids", "titles", "descriptions", "types", "aliases")
_ID_KEYS = ("id", "_id")
_DESCRIPTION_KEYS = ("description", "text", "abstract")


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity.

    Attributes:
        id: unique in a vocabulary; one line.
        title: what it is called.
        description: a sentence or more.
        type: of what sort it is.
        aliases: other names, with how often each means this entity; None: as its popularity says.
        popularity: how likely it is meant among those of the same name, in any unit, above 0.
    """

    id: str
    title: str
    description: str = ""
    type: str = ""
    aliases: Mapping[str, float | None] | None = None
    popularity: float = 1.0


def read_entities(path: Path | str) -> Iterator[Entity]:
    """Yield the entities of a file.

    JSON lines have ``id`` (or ``_id``), ``title``, and perhaps ``description`` (or ``text``, ``abstract``), ``type``,
    ``popularity`` and ``aliases``: a list of names, or an object from name to count. Files that end in .tsv hold id, title,
    aliases joined by ``|``, description and type between tabs; the last three may be missing. Both may be gzipped.

    Raises:
        MissingResourceError: there is no such file.
        BadRecordError: a line is malformed; names file and line.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingResourceError(
            f"{file} is not there: a file of entities is wanted, JSON lines or .tsv, plain or .gz"
        )
    columns = file.name.removesuffix(".gz").endswith(".tsv")
    for number, line in lines(file):
        if not line.strip():
            continue
        try:
            yield _from_columns(line) if columns else _from_object(parse_object(line))
        except (RecordProblem, ValueError, TypeError) as error:
            raise BadRecordError(str(error), file, number) from error


def _from_columns(line: bytes) -> Entity:
    values = [value.strip() for value in line.decode("utf-8").rstrip("\r\n").split("\t")]
    if not 2 <= len(values) <= 5:
        raise ValueError(f"{len(values)} columns where id, title, aliases, description and type are wanted")
    name, title, aliases, description, kind = [*values, "", "", ""][:5]
    return _checked(Entity(name, title, description, kind, {a: None for a in aliases.split("|") if a.strip()}))


def _from_object(record: Mapping[str, Any]) -> Entity:
    name = next((record[key] for key in _ID_KEYS if key in record), record.get("title"))
    aliases = record.get("aliases") or {}
    if isinstance(aliases, list):
        aliases = dict.fromkeys(map(str, aliases))
    if not isinstance(aliases, dict):
        raise ValueError("aliases are a list of names, or an object from name to count")
    texts = (record.get("title", name), next((record[key] for key in _DESCRIPTION_KEYS if key in record), ""))
    title, description = ("" if text is None else str(text) for text in texts)
    weights = {str(alias): None if weight is None else float(weight) for alias, weight in aliases.items()}
    popularity = float(record.get("popularity", 1.0))
    return _checked(Entity(str(name), title, description, str(record.get("type") or ""), weights, popularity))


def _checked(entity: Entity) -> Entity:
    if not entity.id or entity.id.splitlines() != [entity.id]:
        raise ValueError(f"id {entity.id!r}: an id is one line, and not empty")
    if not entity.title.strip():
        raise ValueError(f"entity {entity.id!r} has no title")
    weights = [weight for weight in (entity.aliases or {}).values() if weight is not None]
    if not all(0 < weight < math.inf for weight in [entity.popularity, *weights]):
        raise ValueError(f"entity {entity.id!r}: popularity and counts of aliases are finite and above 0")
    return entity


class _Strings:
    """A mapped column of strings."""

    def __init__(self, folder: Path, name: str) -> None:
        try:
            self._starts: NDArray[np.int64] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            path = folder / f"{name}.bin"
            empty = np.zeros(0, np.uint8)
            self._bytes = np.memmap(path, np.uint8, "r") if path.stat().st_size else empty
        except (OSError, ValueError) as error:
            raise CorruptIndexError(f"{folder}: strings {name!r} cannot be read ({error}): build it anew") from error

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, place: int) -> str:
        return self._bytes[int(self._starts[place]) : int(self._starts[place + 1])].tobytes().decode("utf-8")

    @staticmethod
    def write(folder: Path, name: str, values: Sequence[str]) -> None:
        encoded = [value.encode("utf-8", "replace") for value in values]
        (folder / f"{name}.bin").write_bytes(b"".join(encoded))
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(one) for one in encoded], dtype=np.int64)])
        write_array(folder / f"{name}.npy", starts)


class VocabularyBlock:
    """Entities that came together.

    Args:
        folder: of the block.
        first: the number of its first entity.
        sha256: of its contents.
    """

    def __init__(self, folder: Path, first: int, sha256: str) -> None:
        self.folder, self.first, self.sha256 = folder, first, sha256
        self.ids, self.titles, self.descriptions, self.types, self.aliases = (
            _Strings(folder, name) for name in COLUMNS
        )

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, name: str) -> NDArray[Any]:
        """Map one of the block's arrays."""
        found: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return found

    @cached_property
    def _hashes(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        return self.array("hashes"), self.array("places")

    def find(self, name: str, key: np.uint64) -> int:
        """Return the number of an entity by its id, whose hash is `key`; -1 if it is not here."""
        hashes, places = self._hashes
        at = int(np.searchsorted(hashes, key))
        while at < len(hashes) and hashes[at] == key:
            if self.ids[int(places[at])] == name:
                return self.first + int(places[at])
            at += 1
        return -1

    def cached(self, name: str) -> Path:
        """Where something that was computed from the block alone is kept; nothing but a copy of what can be made again."""
        return self.folder / "cache" / name


class EntityVocabulary:
    """An open vocabulary; make one with `build`.

    Args:
        folder: of the vocabulary.

    Attributes:
        identity: of the first block: it stays when entities are added.
        fingerprint: of all contents: two vocabularies with equal ones hold the same entities under the same numbers.

    Raises:
        MissingResourceError: there is none.
        CorruptIndexError: its files do not fit.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        card = _read_card(self.folder)
        self.blocks = list[VocabularyBlock]()
        first = 0
        for block in card["blocks"]:
            self.blocks.append(VocabularyBlock(self.folder / block["folder"], first, block["sha256"]))
            if len(self.blocks[-1]) != block["entities"]:
                raise CorruptIndexError(
                    f"{self.folder / block['folder']} holds {len(self.blocks[-1])} entities and not "
                    f"{block['entities']}: build the vocabulary anew"
                )
            first += block["entities"]
        self._count, self._starts = first, [block.first for block in self.blocks]
        self.identity = self.blocks[0].sha256
        self.fingerprint = sha256_json([block.sha256 for block in self.blocks])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Entity:
        """Return an entity by its number."""
        block, place = self._place(number)
        starts, weights = block.array("alias_starts"), block.array("alias_weights")
        aliases = {
            block.aliases[i]: None if np.isnan(weights[i]) else float(weights[i])
            for i in range(int(starts[place]), int(starts[place + 1]))
        }
        popularity = float(block.array("popularity")[place])
        return Entity(
            block.ids[place], block.titles[place], block.descriptions[place], block.types[place], aliases, popularity
        )

    def _place(self, number: int) -> tuple[VocabularyBlock, int]:
        if not 0 <= number < len(self):
            raise IndexError(f"entity {number} of {len(self)}")
        block = self.blocks[int(np.searchsorted(self._starts, number, "right")) - 1]
        return block, number - block.first

    def id(self, number: int) -> str:
        """Return the id of a number."""
        block, place = self._place(number)
        return block.ids[place]

    def title(self, number: int) -> str:
        """Return the title of a number."""
        block, place = self._place(number)
        return block.titles[place]

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of each id, -1 where there is none; int64 [ids]."""
        keys = hash_ids(ids)
        found = np.full(len(ids), -1, np.int64)
        for i, (name, key) in enumerate(zip(ids, keys, strict=True)):
            found[i] = next((number for block in self.blocks if (number := block.find(name, key)) >= 0), -1)
        return found

    def names(self) -> Iterator[tuple[int, str, float]]:
        """Yield (number, name, weight) of every title and alias; the weight says how likely the name means the entity."""
        for block in self.blocks:
            starts, weights = block.array("alias_starts"), block.array("alias_weights")
            popularity = block.array("popularity")
            for place in range(len(block)):
                yield block.first + place, block.titles[place], float(popularity[place])
                for i in range(int(starts[place]), int(starts[place + 1])):
                    weight = float(weights[i])
                    yield (
                        block.first + place,
                        block.aliases[i],
                        float(popularity[place]) if math.isnan(weight) else weight,
                    )

    def texts(self, block: VocabularyBlock) -> list[str]:
        """Return title and description of every entity of a block, joined by a space."""
        return [f"{block.titles[i]} {block.descriptions[i]}".rstrip() for i in range(len(block))]

    def verify(self) -> None:
        """Check every file.

        Raises:
            CorruptIndexError: one is missing, or has changed.
        """
        for block in _read_card(self.folder)["blocks"]:
            for name, digest in block["files"].items():
                path = self.folder / block["folder"] / name
                if not path.is_file() or sha256_file(path) != digest:
                    raise CorruptIndexError(f"{path} is missing or has changed: build the vocabulary anew")

    @classmethod
    def build(cls, entities: Iterable[Entity], folder: Path | str, *, overwrite: bool = False) -> Self:
        """Make a vocabulary and open it.

        Raises:
            OutputExistsError: the folder is taken.
            DataError: there are no entities, or an id occurs twice.
        """
        final = Path(folder)
        if final.exists() and not overwrite and (not final.is_dir() or any(final.iterdir())):
            raise OutputExistsError(f"{final} exists: choose another folder, or pass --force to replace it")
        if final.exists() and overwrite and any(final.iterdir()):
            _read_card(final)  # what is not a vocabulary is not replaced
        with storage_errors(final):
            temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.tmp")
            temporary.mkdir(parents=True)
            try:
                block = _write_block(temporary / "0000", list(entities), held=None)
                write_json(temporary / CARD, {"version": VERSION, "blocks": [block]})
                if final.exists():
                    replace_folder(temporary, final)
                else:
                    temporary.rename(final)
                    sync_folder(final.parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return cls(final)

    def add(self, entities: Iterable[Entity]) -> Self:
        """Add entities, and return the vocabulary opened anew; those that are there keep their numbers.

        Raises:
            DataError: there are none, or an id occurs twice or is there already.
        """
        card = _read_card(self.folder)
        name = f"{len(card['blocks']):04}"
        with storage_errors(self.folder):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            block = _write_block(self.folder / name, list(entities), held=self)
            write_json(self.folder / CARD, {**card, "blocks": [*card["blocks"], block]})
        return type(self)(self.folder)


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_bytes())
    except FileNotFoundError:
        raise MissingResourceError(
            f"{folder} holds no vocabulary of entities: make one with  tamis entities build FILE -o {folder}"
        ) from None
    except ValueError as error:
        raise CorruptIndexError(f"{folder / CARD} is damaged: {error}; build the vocabulary anew") from error
    if card.get("version") != VERSION:
        raise CorruptIndexError(f"{folder / CARD} is of version {card.get('version')}, and this Tamis reads {VERSION}")
    return card


def _write_block(folder: Path, entities: Sequence[Entity], held: EntityVocabulary | None) -> dict[str, Any]:
    if not entities:
        raise DataError("there are no entities to take in: the file is empty")
    ids = [entity.id for entity in entities]
    seen = set[str]()
    twice = next((name for name in ids if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
    if twice is None and held is not None:
        there = np.flatnonzero(held.find(ids) >= 0)
        twice = ids[int(there[0])] if len(there) else None
    if twice is not None:
        raise DataError(f"entity {twice!r} is there already: ids are unique, and an entity is never replaced")
    folder.mkdir(parents=True)
    aliases = [(entity.aliases or {}) for entity in entities]
    columns = (
        ids,
        [entity.title for entity in entities],
        [entity.description for entity in entities],
        [entity.type for entity in entities],
        [alias for own in aliases for alias in own],
    )
    for name, values in zip(COLUMNS, columns, strict=True):
        _Strings.write(folder, name, values)
    weights = [math.nan if weight is None else weight for own in aliases for weight in own.values()]
    write_array(folder / "alias_starts.npy", np.cumsum([0, *map(len, aliases)], dtype=np.int64))
    write_array(folder / "alias_weights.npy", np.array(weights, np.float32))
    write_array(folder / "popularity.npy", np.array([entity.popularity for entity in entities], np.float32))
    hashes = hash_ids(ids)
    order = np.argsort(hashes, kind="stable")
    write_array(folder / "hashes.npy", hashes[order])
    write_array(folder / "places.npy", order.astype(np.int64))
    sync_tree(folder)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    return {"folder": folder.name, "entities": len(entities), "files": files, "sha256": sha256_json(files)}
