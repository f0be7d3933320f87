"""The stemmer: the paper's own examples, and equality with Lucene's."""

from __future__ import annotations

import gzip
import json
import random
import re
import string
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tamis.encoders.analysis.english import STOP_WORDS
from tamis.encoders.analysis.porter import stem

_SUFFIXES = """
    s es ies sses ed eed ing at bl iz y ational tional enci anci izer bli abli alli entli eli ousli ization ation ator alism
    iveness fulness ousness aliti iviti biliti logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement
    ment ent ion sion tion ou ism ate iti ous ive ize e ll l ee le yy
"""
SUFFIXES = _SUFFIXES.split()


@pytest.mark.parametrize(
    ("word", "expected"),
    [  # from the paper, every step, carried through to the end
        ("caresses", "caress"), ("ponies", "poni"), ("ties", "ti"), ("cats", "cat"),
        ("feed", "feed"), ("agreed", "agre"), ("plastered", "plaster"), ("bled", "bled"), ("motoring", "motor"), ("sing", "sing"),
        ("conflated", "conflat"), ("troubled", "troubl"), ("sized", "size"), ("hopping", "hop"), ("tanned", "tan"),
        ("falling", "fall"), ("hissing", "hiss"), ("fizzed", "fizz"), ("failing", "fail"), ("filing", "file"),
        ("happy", "happi"), ("sky", "sky"), ("relational", "relat"), ("conditional", "condit"), ("rational", "ration"),
        ("digitizer", "digit"), ("triplicate", "triplic"), ("hopefulness", "hope"), ("electrical", "electr"),
        ("revival", "reviv"), ("adoption", "adopt"), ("replacement", "replac"), ("effective", "effect"),
        ("probate", "probat"), ("rate", "rate"), ("cease", "ceas"), ("controll", "control"), ("roll", "roll"),
        # the departures
        ("as", "as"), ("is", "is"), ("possibly", "possibl"), ("archaeology", "archaeolog"),
        # what is not an English letter
        ("", ""), ("élèves", "élève"), ("chênes", "chêne"), ("garçonness", "garçon"), ("1990s", "1990"), ("adyyed", "adi"),
    ],
)  # fmt: skip
def test_hand_computed(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_lengths_are_in_utf16_units() -> None:
    assert stem("\U0001d41as") == "\U0001d41a"  # three units: not left alone
    assert stem("és") == "és"


def assert_stems(lucene: Any, words: list[str]) -> None:
    """Both stemmers agree; the words go through the whole chain there, 10,000 a crossing."""
    words = [word for word in words if word and word not in STOP_WORDS]
    for start in range(0, len(words), 10_000):
        batch = words[start : start + 10_000]
        assert dict(zip(batch, map(stem, batch), strict=True)) == dict(
            zip(batch, lucene.analyze(" ".join(batch)), strict=True)
        )


def test_short_words_equal_lucene(lucene: Any) -> None:
    assert_stems(lucene, ["".join(letters) for n in (1, 2, 3) for letters in product(string.ascii_lowercase, repeat=n)])
    assert_stems(lucene, ["".join(letters) for letters in product("adeinsyg", repeat=5)])


def test_stacked_suffixes_equal_lucene(lucene: Any) -> None:
    rng = random.Random(3)
    roots = ["".join(rng.choices("aeiouybcdfglmnrstwxzé\U0001d41a", k=rng.randrange(6))) for _ in range(30_000)]
    assert_stems(lucene, [root + "".join(rng.choices(SUFFIXES, k=rng.randrange(1, 4))) for root in roots])


@pytest.mark.real
@pytest.mark.parametrize("name", ["cacm", "cranfield", "nfcorpus"])
def test_vocabulary_equals_lucene(lucene: Any, collections: Path, name: str) -> None:
    vocabulary: set[str] = set()
    with gzip.open(collections / name / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            vocabulary.update(re.findall("[a-z]+", json.loads(line)["text"].lower()))
    assert len(vocabulary) > 5_000
    assert_stems(lucene, sorted(word for word in vocabulary if len(word) < 200))
