"""Readers and writers: corpora, topics, qrels and runs."""
