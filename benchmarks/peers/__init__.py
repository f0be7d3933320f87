"""Named peers of the sparse kernel, each in a process of its own.

They live in an environment of their own too (requirements.txt). `engines.py` is what such a process runs: a script that imports
nothing of this project. `process.py` talks to it.
"""
