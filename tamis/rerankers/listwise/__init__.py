"""Language models that put a list of passages in order: prompts, windows, answers, and the models behind an endpoint."""
