"""Diagnosis: where a model or a pipeline goes wrong, one small file a question.

`position`: does an encoder see only the beginning? `perturb`: does a reranker read the order of words? `listwise`: does
the order of its input decide? `truncation`: what was cut, and what did it cost? `scores`: do scores tell relevant
documents apart? `misses`: what does one first stage find that another does not?

Every result is deterministic under its seed, has ``to_dict()`` with JSON values, and a table and a chart made of it. A
figure that cannot be said is None, and a note of the table says why.
"""
