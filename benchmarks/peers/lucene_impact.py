"""Lucene's impact index, built by Anserini and searched by its SimpleImpactSearcher.

    python -m benchmarks.peers.lucene_impact FOLDER

Query maps are made beforehand, and hits stay in Java where k is large: Lucene's own speed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import java as java_command
from benchmarks.peers.engines import Search, Vectors, serve


class LuceneImpact(Vectors):
    """See the module."""

    def build(self) -> None:
        """Write JSON lines and index them with two threads."""
        source = self.folder / "json"
        source.mkdir(exist_ok=True)
        with (source / "vectors.jsonl").open("w", encoding="ascii") as out:
            for number, (terms, weights) in enumerate(self.rows()):
                vector = dict(zip(map(str, terms.tolist()), weights.tolist(), strict=True))
                out.write(json.dumps({"id": str(number), "contents": "", "vector": vector}) + "\n")
        options = "-collection JsonVectorCollection -generator DefaultLuceneDocumentGenerator -threads 2 -impact"
        command = [*java_command(), "io.anserini.index.IndexCollection", *options.split(), "-pretokenized", "-optimize"]
        subprocess.run([*command, "-input", str(source), "-index", str(self.index)], check=True, capture_output=True)

    def open(self) -> None:
        """Start Java."""
        from tamis.indexer.lucene.jvm import java, start

        start()
        self._java = java
        self._searcher = java("io.anserini.search.SimpleImpactSearcher")(str(self.index))

    def queries(self) -> list[Any]:
        """Maps from token to whole weight, in Java."""
        made = []
        for terms, weights in super().queries():
            query = self._java("java.util.HashMap")()
            for term, weight in zip(terms, weights, strict=True):
                query.put(str(term), self._java("java.lang.Integer")(int(weight)))
            made.append(query)
        return made

    def ways(self) -> dict[str, Search]:
        """One query at a time; answers are read out of Java only where k is small."""

        def search(queries: Any, k: int) -> list[list[int]]:
            found = [self._searcher.search(query, k) for query in queries]
            return [[int(str(hit.docid)) for hit in hits] if k <= 10 else [] for hits in found]

        return {"one by one": search}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    serve(LuceneImpact(folder, folder / "lucene-index"))
