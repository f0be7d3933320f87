"""Pruning: passages that no query will want leave the index."""
