"""Porter's stemmer as Lucene runs it.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the three departures of the author's later
programs: words of two letters or fewer are left alone, ``-bli`` becomes ``-ble`` (the paper: ``-abli``, ``-able``), and
``-logi`` becomes ``-log``. Every character that is not one of ``aeiouy`` counts as a consonant.

Lengths count UTF-16 units, as in Java: a character beyond the Basic Multilingual Plane is two different consonants.
"""

from __future__ import annotations

_STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_STEP_3 = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
_STEP_4 = dict.fromkeys(
    "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize".split(),  # noqa: SIM905
    "",
)
_LONGEST_SUFFIX = 7


def stem(word: str) -> str:
    """Return the stem of a lower-case word."""
    if word.isascii() or max(word) < "\U00010000":
        return _stem(word)
    pairs = word.encode("utf-16-le", "surrogatepass")
    units = "".join(chr(pairs[i] | pairs[i + 1] << 8) for i in range(0, len(pairs), 2))
    return _stem(units).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _stem(word: str) -> str:
    if len(word) <= 2:
        return word
    word = _step_1(word)
    word = _replace(word, _STEP_2, 0)
    word = _replace(word, _STEP_3, 0)
    word = _replace(word, _STEP_4, 1)
    return _step_5(word)


def _letters(text: str) -> str:
    """Write `text` as a string of ``c`` (consonant) and ``v`` (vowel); y is a vowel after a consonant."""
    kinds = ""
    for letter in text:
        vowel = letter in "aeiou" or (letter == "y" and kinds.endswith("c"))
        kinds += "v" if vowel else "c"
    return kinds


def _measure(text: str) -> int:
    """Porter's m: how many times a consonant follows a vowel."""
    return _letters(text).count("vc")


def _ends_cvc(text: str) -> bool:
    """Porter's *o: consonant, vowel, consonant at the end, the last not w, x or y."""
    return text[-1:] not in ("w", "x", "y") and _letters(text).endswith("cvc")


def _ends_double_consonant(text: str) -> bool:
    """Porter's *d: one letter twice, the second a consonant (of ``yy`` behind a consonant the first is a vowel)."""
    return text[-2:-1] == text[-1:] and _letters(text).endswith("c")


def _step_1(word: str) -> str:
    """Plurals, past forms, -ing, and a final y."""
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    elif (tail := 2 if word.endswith("ed") else 3 if word.endswith("ing") else 0) and "v" in _letters(word[:-tail]):
        word = word[:-tail]
        if word.endswith(("at", "bl", "iz")):
            word += "e"
        elif _ends_double_consonant(word):
            if word[-1] not in "lsz":
                word = word[:-1]
        elif _measure(word) == 1 and _ends_cvc(word):
            word += "e"
    if word.endswith("y") and "v" in _letters(word[:-1]):
        word = word[:-1] + "i"
    return word


def _replace(word: str, suffixes: dict[str, str], above: int) -> str:
    """Replace the longest of `suffixes` that ends `word`, if what stands before it has a measure above `above`."""
    for length in range(min(_LONGEST_SUFFIX, len(word)), 1, -1):
        suffix = word[-length:]
        if suffix in suffixes:
            head = word[:-length]
            if suffix == "ion" and not head.endswith(("s", "t")):
                return word
            return head + suffixes[suffix] if _measure(head) > above else word
    return word


def _step_5(word: str) -> str:
    """A final e, and the second of a final double l."""
    measure = _measure(word)
    if word.endswith("e") and (measure > 1 or (measure == 1 and not _ends_cvc(word[:-1]))):
        word = word[:-1]
    if word.endswith("ll") and measure > 1:
        word = word[:-1]
    return word
