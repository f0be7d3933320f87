"""How many bytes the rooms and parts of an index take."""

from __future__ import annotations

from tamis.indexer.encoded.entry import SHARED
from tamis.indexer.layout import Manifest


def sizes_of(manifest: Manifest) -> dict[str, int]:
    """Return the bytes of a generation by room; ``total`` is the sum.

    Parts go by their names. What a part's shards share, such as a query encoder, is a line of its own, ``NAME (shared)``: no cut
    makes it smaller.
    """
    names = {entry["id"]: name for name, entry in manifest.parts.items() if "id" in entry}
    sizes: dict[str, int] = {}
    for path, file in manifest.files.items():
        room, _, rest = path.partition("/")
        name = room
        if room == "parts":
            part, _, inside = rest.partition("/")
            name = names.get(part, room) + (" (shared)" if inside.startswith(f"{SHARED}/") else "")
        sizes[name] = sizes.get(name, 0) + file.bytes
    return {**dict(sorted(sizes.items())), "total": sum(sizes.values())}
