"""The index on disk: document segments, parts (Lucene first), manifests, commits, resumable jobs, verification."""
