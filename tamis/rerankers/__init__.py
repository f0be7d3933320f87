"""Rerankers: candidates in, better candidates out. Each family says how a model reads and scores; the rest is shared."""
