"""`tamis index --keep-quality`: documents of low quality left out before anything is encoded.

The whole corpus is indexed without models first, which is cheap, and scored; the index is made by pruning that one. So a share
can be told exactly, and what was left out is remembered as what `tamis prune` leaves out is.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.cli.session import Session
from tamis.errors import OutputExistsError, UsageError

if TYPE_CHECKING:
    from tamis.cli.corpora import Source
    from tamis.engine import Index
    from tamis.indexer.layout import Settings
    from tamis.indexer.writer import AddReport

_HOW = "write MODEL>=q0.3 to leave out the lowest 30 %, or MODEL>=SCORE in the model's own units"


@dataclass(frozen=True)
class Kept:
    """What is to be kept.

    Attributes:
        model: address of a quality model.
        share: of the rows that goes, or None.
        score: least score that stays, or None.
    """

    model: str
    share: float | None
    score: float | None

    def to_json(self) -> dict[str, Any]:
        """Return what the index remembers."""
        return {"model": self.model, "share": self.share, "score": self.score}


def parse_keep(text: str) -> Kept:
    """Read ``MODEL>=q0.3`` or ``MODEL>=SCORE``; ``quality:`` may stand before the model.

    Raises:
        UsageError: it is neither, or there is no such model.
    """
    from tamis.families import Address
    from tamis.pruning.registry import quality_options

    model, sign, limit = text.rpartition(">=")
    model = model.strip().removeprefix("quality:")
    quantile = limit.strip().startswith("q")
    try:
        value = float(limit.strip().removeprefix("q"))
    except ValueError:
        value = math.nan
    if not sign or not model or math.isnan(value) or (quantile and not 0 < value < 1):
        raise UsageError(f"--keep-quality {text!r}: {_HOW}")
    address = Address.parse(model)
    quality_options(address.family)
    return Kept(str(address), value if quantile else None, None if quantile else value)


def index_kept(
    session: Session, source: Source, output: Path, settings: Settings, kept: Kept, threads: int | None, *, force: bool
) -> tuple[Index, AddReport]:
    """Make the index of what is kept, or find that it is made; return it open.

    Raises:
        OutputExistsError: the folder is taken by something else.
    """
    from tamis.cli.index import open_or_create
    from tamis.engine import Index
    from tamis.indexer.layout import generations
    from tamis.indexer.writer import AddReport
    from tamis.pruning.cut import check_output, prune_index
    from tamis.pruning.scoring import quality_part, score_index
    from tamis.pruning.selection import Candidates

    if output.is_dir() and generations(output):
        opened = Index.open(output, threads=threads, listener=session.listener)
        if _made_so(opened, source, settings, kept):
            return opened, AddReport(opened.generation, unchanged=True)
        opened.close()
        if not force:
            raise OutputExistsError(
                f"{output} holds an index already that was made otherwise: choose another folder, or pass --force to replace it"
            )
    check_output(output, overwrite=force)
    session.resumable = True
    whole = output.with_name(f".{output.name}.whole")
    with open_or_create(session, whole, settings, source, threads, replaces=True) as opened:
        report = opened.add(source.documents(session.listener), fingerprint=source.fingerprint, total=source.total)
        name = score_index(opened, kept.model, listener=session.listener)
        documents: Any = opened.documents
        candidates = Candidates(documents, quality_part(opened, name), keep_last=settings.passages is not None)
        gone = candidates.lowest(kept.share) if kept.share is not None else candidates.below(kept.score or 0.0)
        record = {"keep_quality": kept.to_json()}
        cut = prune_index(
            opened, output, gone, record, overwrite=force, threads=threads or 2, listener=session.listener
        )
    shutil.rmtree(whole)
    session.note(f"{cut.rows:,} of {cut.rows + cut.kept:,} rows left out by {kept.model}")
    session.metrics["left_out_rows"] = cut.rows
    return Index.open(output, threads=threads, listener=session.listener), report


def _made_so(opened: Index, source: Source, settings: Settings, kept: Kept) -> bool:
    """Whether an index is what this command makes, but for parts."""
    from tamis.files import canonical_json

    manifest = opened.manifest
    history = manifest.pruned.get("history", [])
    made_from = [canonical_json(made.get("fingerprint")) for made in manifest.sources]
    return (
        manifest.settings == settings
        and len(history) == 1
        and history[0].get("keep_quality") == kept.to_json()
        and made_from == [canonical_json(source.fingerprint)]
        # pruning deletes, then compacts
        and manifest.changed <= history[0]["generation"] + 1
    )
