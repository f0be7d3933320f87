"""A collection that every Python installation carries: the standard library's documentation strings, with topics and qrels.

`passages` extracts the corpus at run time; `demo_topics` and `demo_qrels` read the topics and graded judgements that ship
with the package. Nothing is downloaded, and no documentation string is copied into Tamis.
"""

from tamis.data.demo.collection import demo_qrels, demo_topics
from tamis.data.demo.stdlib import passages

__all__ = ["demo_qrels", "demo_topics", "passages"]
