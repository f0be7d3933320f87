"""Lucene, reached through JPype on the Anserini jar of the installed `pyserini` distribution; no compiled Java of ours."""
