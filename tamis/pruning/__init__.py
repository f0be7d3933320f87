"""Pruning: passages that no query will want leave the index, and a certificate says what that costs.

`tamis.pruning.base` is what a quality model is and `registry` the families of them; `part` keeps their scores in an index;
`selection` decides what goes, `cut` makes the smaller index, and `certificate` shows how deep a cut may go. `postings` prunes
single postings instead, as the field did before.
"""
