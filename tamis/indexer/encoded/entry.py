"""An encoded part in a manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from tamis.encoders.base import ModelIdentity
from tamis.errors import IndexVersionError, UsageError
from tamis.files import sha256_json
from tamis.indexer.layout import LUCENE, PARTS, TERMS_PART

SHARED = "shared"
"""Folder beside the shards for what belongs to all of them: a codec, an exported query encoder."""

NOT_ENCODED = ("impact", "lucene")
"""Kinds of the parts that the index makes by itself."""

_NAME = re.compile(r"[^\s,()?&=\"']+")


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What a part holds of one document segment.

    Attributes:
        segment: the segment's id, and the shard's folder.
        rows: as many as the segment has.
        truncated: texts that were longer than the model reads; None where compaction mixed encoded rows anew.
    """

    segment: str
    rows: int
    truncated: int | None


@dataclass(frozen=True)
class EncodedEntry:
    """An encoded part.

    Attributes:
        kind: which `tamis.indexer.encoded.kinds.PartKind` it is.
        id: its folder below ``parts/``.
        model: the identity of the model that encoded it (`tamis.encoders.base.ModelIdentity.to_json`).
        options: part-scope options: how it is stored.
        facts: what the kind found out and needs again: dimensions, measured recall …
        folders: folders besides the shards that the generation needs.
        shards: one a document segment, in the segments' order.
    """

    kind: str
    id: str
    model: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    shards: tuple[ShardRecord, ...] = ()

    @classmethod
    def new(
        cls, index: str, name: str, kind: str, identity: ModelIdentity, options: Mapping[str, Any], generation: int
    ) -> Self:
        """Return the entry of a part that holds nothing yet.

        Its folder is named by all that decides its bytes, so that an interrupted build finds its own work again.
        """
        model = identity.to_json()
        seed = [index, generation, name, kind, model["fingerprint"], dict(options)]
        return cls(kind, sha256_json(seed)[:32], model, dict(options))

    @property
    def address(self) -> str:
        """The model's address."""
        return str(self.model["address"])

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint."""
        return str(self.model["fingerprint"])

    def folder(self, index: Path) -> Path:
        """Return its folder in an index."""
        return index / PARTS / self.id

    def to_json(self) -> dict[str, Any]:
        """Return the manifest's form."""
        shards = [{"segment": s.segment, "rows": s.rows, "truncated": s.truncated} for s in self.shards]
        return {
            "kind": self.kind,
            "id": self.id,
            "model": dict(self.model),
            "options": dict(self.options),
            "facts": dict(self.facts),
            "folders": list(self.folders),
            "shards": shards,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build from a manifest's entry.

        Raises:
            IndexVersionError: it is the entry of a kind of part that came later.
        """
        if not {"model", "options", "facts", "folders", "shards"} <= value.keys():
            raise IndexVersionError(
                f"the index has a part of kind {value.get('kind')!r}, which this Tamis does not know: upgrade with  "
                "pip install -U tamis"
            )
        shards = tuple(ShardRecord(**shard) for shard in value["shards"])
        folders = tuple(value["folders"])
        return cls(value["kind"], value["id"], value["model"], value["options"], value["facts"], folders, shards)

    def with_facts(self, facts: Mapping[str, Any]) -> Self:
        """Return the entry with more facts."""
        return replace(self, facts={**self.facts, **facts})


def encoded_entries(parts: Mapping[str, Any]) -> dict[str, EncodedEntry]:
    """Return the encoded parts of a manifest's ``parts``, by name."""
    return {name: EncodedEntry.from_json(part) for name, part in parts.items() if part["kind"] not in NOT_ENCODED}


def check_name(name: str) -> str:
    """Return a part's name if it can be one.

    Raises:
        UsageError: it is empty, holds a character that addresses give a meaning to, or belongs to a part of the index's own.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"part name {name!r}: a name holds no space, comma, quote, bracket, '?', '&' or '='")
    if name in (LUCENE, TERMS_PART):
        raise UsageError(f"part name {name!r} belongs to the index's own part: choose another")
    return name
