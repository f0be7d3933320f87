"""The hot loops, alone and documented. First of all the exact sparse top-k over postings.

    postings = build_postings(term_ids, docs, codes, n_docs=…, n_terms=…, n_codes=…)
    queries = Queries.of([(terms, tables), …])
    hits = search(postings, queries, k=10)

One kernel serves BM25, query likelihood, weighted feedback queries, learned sparse and binary vectors: a posting holds a
small code, and a query brings for each of its terms a table from codes to contributions.
"""

from tamis.kernels.backend import kernel_name
from tamis.kernels.building import PostingsBuilder, Shard, build_postings, merge_postings
from tamis.kernels.postings import WINDOW, Postings
from tamis.kernels.queries import Queries
from tamis.kernels.rows import DocumentRows, RowShard
from tamis.kernels.searching import Hits, score, search
from tamis.kernels.vocabulary import Vocabulary

__all__ = [
    "WINDOW",
    "DocumentRows",
    "Hits",
    "Postings",
    "PostingsBuilder",
    "Queries",
    "RowShard",
    "Shard",
    "Vocabulary",
    "build_postings",
    "kernel_name",
    "merge_postings",
    "score",
    "search",
]
