"""Parts that a model makes of the documents: dense vectors, token vectors, learned sparse weights.

`tamis.indexer.encoded.entry` is what a manifest says of one, `kinds` what a kind of part must be able to do, and `job` the
resumable work that brings a part up to a set of document segments.
"""
