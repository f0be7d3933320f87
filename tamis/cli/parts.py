"""What `index`, `add-part` and `demo` share: parts named on the command line, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tamis.cli.session import Session

if TYPE_CHECKING:
    from tamis.engine import Index

_NAMED = re.compile(r"([^:?=]+)=(.+)", re.DOTALL)


def parse_part(text: str) -> tuple[str | None, str]:
    """Split ``NAME=ADDRESS`` or a bare address into name (None if not given) and address.

    Raises:
        UsageError: the address is malformed, or names an unknown family or option.
    """
    from tamis.families import Address, family, parse_options

    named = _NAMED.fullmatch(text)
    name, address = (named[1], named[2]) if named else (None, text)
    parsed = Address.parse(address)
    parse_options(family(parsed.family).Options, parsed.options, of=parsed.family)
    return name, address


def add_parts(session: Session, index: Index, parts: Sequence[tuple[str | None, str]]) -> None:
    """Make the parts that are missing, one commit each, and tell of them."""
    made = []
    for name, address in parts:
        before, known = index.generation, set(index.manifest.parts)
        chosen = index.add_part(address, name)
        entry = index.manifest.parts[chosen]
        size = sum(file.bytes for path, file in index.manifest.files.items() if f"/{entry['id']}/" in path)
        truncated = sum(shard["truncated"] or 0 for shard in entry["shards"])
        rows = sum(shard["rows"] for shard in entry["shards"])
        made.append(
            {"name": chosen, "model": entry["model"]["address"], "rows": rows, "truncated": truncated, "bytes": size}
        )
        if index.generation == before:
            session.note(f"{index.path} has the part {chosen} already (generation {before}): nothing to do")
            continue
        if chosen in known:
            gained = f"brought up to {entry['facts']['entities']:,} entities"
            session.note(f"{index.path}: generation {index.generation}, part {chosen} {gained}")
            continue
        from tamis.cli.drawing import format_bytes

        cut = f", {truncated:,} of them cut to the model's length" if truncated else ""
        session.note(
            f"{index.path}: generation {index.generation}, part {chosen}: {rows:,} rows{cut}, {format_bytes(size)}"
        )
    session.artifacts["index"] = str(index.path)
    session.resolved["generation"] = index.generation
    session.metrics["parts"] = made
    if made:
        model, facts = made[-1]["model"], index.manifest.parts[made[-1]["name"]]["facts"]
        pipeline = (
            f"bm25 % 100 >> {model}" if facts.get("similarity") == "pair" else model
        )  # such a model retrieves nothing
        session.note(f'next: tamis search {index.path} "your query" --pipeline "{pipeline}"')
