"""Sparse parts: learned impacts (SPLADE, uniCOIL, DyVo …) and binary vectors (UHD), on the sparse kernel.

A shard keeps what was encoded row by row, so that it can be gathered, scored and explained; runs are inverted indexes over
consecutive shards, and what a search reads.
"""
