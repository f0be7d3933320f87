"""An open index as the laboratory sees it: a runner over it, which rows may be found, and what results are known by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from tamis._version import __version__
from tamis.engine import Index
from tamis.errors import MissingResourceError
from tamis.eval.laboratory.costs import MEASURED, LoggingRunner, PartLog
from tamis.eval.laboratory.identity import missing_models, stage_identity
from tamis.eval.laboratory.store import Store
from tamis.families import Address
from tamis.files import sha256_json
from tamis.indexer.layout import Manifest
from tamis.pipeline import Pipeline
from tamis.pipeline.names import split_depth
from tamis.pipeline.remembered import StepKey, step_keys
from tamis.pipeline.steps import Plan, Stage
from tamis.stages import RowMask

ENCODING = 1
"""Of what is remembered: raised when the meaning of a remembered list changes without a new version of Tamis."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where pipelines run.

    Attributes:
        index: open; whoever opened it closes it.
        runner: over the index.
        mask: rows that may be found; None for all.
        filter: what the mask is, as a text.
    """

    index: Index
    runner: LoggingRunner
    mask: RowMask | None
    filter: str | None

    @classmethod
    def over(cls, index: Index, filter: str | None = None) -> Self:  # noqa: A002 - the word that users know
        """Build over an open index.

        Raises:
            ParseError: the filter is malformed.
            UsageError: it names a key that is not filterable.
        """
        mask = None if filter is None else index.mask(filter)
        return cls(index, LoggingRunner(PartLog(index)), mask, filter)

    @property
    def manifest(self) -> Manifest | None:
        """Of the open generation; None of a bare Lucene index."""
        return self.index.manifest if self.index.has_manifest else None

    @property
    def scope(self) -> str:
        """Identity of what plans run over, but for the parts, which the identity of a stage holds."""
        manifest = self.manifest
        over = self.index.documents.key if manifest is None else f"{manifest.index}:{manifest.changed}"
        return sha256_json([ENCODING, __version__, over, self.filter])

    def identity(self, address: str, store: Store) -> str:
        """Identity of a stage that was opened: its address, the files that this names, and the encoded parts that it reads."""
        parts = {} if self.manifest is None else self.manifest.parts
        read = {name: parts.get(name) for name in sorted(self.runner.log.asked.get(address, ()))}
        own = {name: entry for name, entry in read.items() if isinstance(entry, Mapping) and "id" in entry}
        return sha256_json([stage_identity(Address.parse(address), store.hash_of), own])

    def keys(self, plan: Plan, store: Store) -> list[StepKey | None]:
        """Return what the results of a plan's steps are known by."""

        def of(stage: Stage) -> str:
            return self.identity(stage.name, store)

        return step_keys(plan, self.scope, of)

    def cost_key(self, pipeline: str, store: Store, rules: object) -> str:
        """Return what the cost of a pipeline, whose models were opened, is known by.

        Args:
            pipeline: the pipeline.
            store: remembers hashes.
            rules: how and where it was measured, as JSON values.
        """
        node = Pipeline.of(pipeline)
        identities = [self.identity(str(address), store) for address in addresses(node)]
        return sha256_json([MEASURED, self.scope, str(node), identities, rules])


def addresses(pipeline: Pipeline) -> list[Address]:
    """Return the addresses of a pipeline's models, from left to right, without their depths."""
    return [split_depth(text)[0] for node in pipeline.walk() if (text := getattr(node, "address", None)) is not None]


def require_models(pipeline: Pipeline) -> None:
    """Check that a pipeline's checkpoints are here, or can be fetched from the hub.

    Raises:
        MissingResourceError: one is not, and is no model of the hub.
    """
    absent = [one for address in addresses(pipeline) for one in missing_models(address)]
    if absent:
        raise MissingResourceError(f"no model at {', '.join(map(repr, absent))}: name a folder, or ORGANISATION/NAME")
