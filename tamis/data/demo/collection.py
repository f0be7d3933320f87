"""The demo collection's topics and graded judgements, which ship with the package.

The topics ask as a user would: some in the words of the documentation, some in other words altogether, some misspelt.
Grade 2 answers the question, grade 1 helps; what is not judged counts as not relevant. The judged names exist, with a
documentation string, in Python 3.11 to 3.13.
"""

from __future__ import annotations

from importlib.resources import as_file, files

from tamis.data.qrels import Qrels, read_qrels
from tamis.data.topics import read_topics
from tamis.ranking import Queries


def demo_topics() -> Queries:
    """Return the questions."""
    with as_file(files(__package__) / "topics.tsv") as path:
        return read_topics(path)


def demo_qrels() -> Qrels:
    """Return the judgements: query id → passage id → grade (2 answers, 1 helps)."""
    with as_file(files(__package__) / "qrels.tsv") as path:
        return read_qrels(path)
