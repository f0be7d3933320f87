"""Tamis side by side with its peers, one script a claim; every script prints ratios measured in the same run."""
