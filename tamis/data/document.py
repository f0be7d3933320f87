"""The one shape in which documents enter Tamis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tamis.errors import DataError


@dataclass(frozen=True, slots=True)
class Document:
    """A document as a corpus states it.

    Attributes:
        id: external id: not empty, no white space (a run file separates its columns by it).
        text: the body.
        title: the title, empty where there is none.
        metadata: everything else, JSON values; a filter or `--fields` may name them.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id or self.id.split() != [self.id]:
            raise DataError(f"document id {self.id!r}: an id must not be empty or hold white space")

    @property
    def contents(self) -> str:
        """Title and body joined by one space; what single-field retrieval and models read."""
        return f"{self.title} {self.text}" if self.title and self.text else self.title or self.text
