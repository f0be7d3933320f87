"""Word breaks as Lucene's StandardTokenizer finds them.

The rules are those of Unicode Standard Annex 29 (word boundaries) and of Technical Standard 51 (emoji sequences), in the
form that Lucene gives them: a word is the longest match of the grammar below, and what matches nothing is skipped one
character at a time. Ideographs and hiragana stand alone, and runs of the scripts that do not part their words (Thai,
Khmer …) stay whole.

The grammar is over classes, so that one compiled expression serves every character: text is first translated to a
string of class letters of the same length. ASCII text has an expression of its own, which needs no table.

A word never exceeds 255 UTF-16 units: the grammar is matched within the next 255, and matching goes on behind what it
found there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from tamis.encoders.analysis.tables import OTHER, word_break_classes

MAX_UNITS = 255
"""The longest word, in UTF-16 units (Lucene's default maximum token length)."""

# In ASCII only letters, digits and the underscore make words, and five marks join them:
# ' : . between letters, ' . , ; between digits.
_ASCII_WORD = re.compile(
    r"""_*+[A-Za-z0-9]\w*+
        (?: (?: (?<=[A-Za-z])[':.](?=[A-Za-z]) | (?<=[0-9])['.,;](?=[0-9]) ) \w++ )*+""",
    re.ASCII | re.VERBOSE,
)
_ASCII_LONG_RUN = re.compile(rf"[\w\"'.,:;#*]{{{MAX_UNITS + 1}}}", re.ASCII)

CLASSES = {
    '"': "Double_Quote",
    "'": "Single_Quote",
    ",": "MidNum",
    ".": "MidNumLet",
    ":": "MidLetter",
    "_": "ExtendNumLet",
    "#": "# and *, which begin keycaps",
    "9": "Numeric",
    "A": "ALetter, Hangul included",
    "i": "ALetter that is an emoji too",
    "H": "Hebrew_Letter",
    "K": "Katakana",
    "C": "Han or Hiragana",
    "S": "letter of a script without word breaks (line break class Complex_Context)",
    "s": "mark of such a script",
    "E": "emoji",
    "M": "emoji modifier (skin tone)",
    "R": "regional indicator (half a flag)",
    "x": "other Extend or Format",
    "J": "zero width joiner",
    "k": "enclosing keycap",
    "T": "variation selector 15 (text)",
    "V": "variation selector 16 (emoji)",
    "g": "tag",
    "G": "cancel tag",
}
"""The letters of the grammar, and what they stand for. A character of none of these classes is `OTHER`."""


def _grammar() -> str:
    """The expression for one word, over class letters; rule numbers are those of the two standards.

    Loops give nothing back, and of two alternatives either one excludes the other or the longer comes first, so the first
    match is the longest one. Two rules are Lucene's own and narrower than the standard: a Hebrew letter behind a joining
    mark, or behind a double quote, does not itself take a quote.
    """
    # WB4: whatever extends or formats belongs to the character before it.
    x = "[xsJkTVMgG]*+"
    number = f"9{x}(?:[',.]{x}9{x})*+"  # WB8, WB11, WB12
    joined = f"[':.]{x}[AiH]{x}"  # WB6, WB7
    letters = f"[Ai]{x}(?:{joined})*+"  # WB5
    hebrew = f"H{x}(?:'{x}|\"{x}H{x}|[:.]{x}[AiH]{x}(?:{joined})*+)?+"  # WB7a, WB7b, WB7c
    part = f"(?:(?:{number}|{letters}|{hebrew})++|(?:K{x})++)"  # WB9, WB10, WB13
    underscores = f"_{x}"
    word = f"(?:{underscores})*+{part}(?:(?:{underscores})++{part})*+(?:{underscores})*+"  # WB13a, WB13b

    # What extends an emoji: of the above, all but the presentation selectors.
    y = "[xsJkMgG]*+"
    flag = f"R{x}R{x}"  # WB15, WB16
    keycap = f"#[xsJMgG]*+(?:k{y}(?:Vk{y})?+|Vk{y})"  # ED-14c
    # Emoji joined by zero width joiners (WB3c, ED-16), with modifiers (ED-13), presentation selectors and tags (ED-14a).
    link = f"{y}(?:(?<=J)|VJ(?:J*+|M{y}(?<=J)))"
    tail = f"{y}(?:V(?:JM{y})?+)?+"
    lone = f"{y}(?:V(?:JM{y}|g++G)?+)?+"
    emoji = f"(?:E|J++[Ei])(?:(?:{link}[Ei])++{tail}|{lone})|M{y}(?:(?<=J)[Ei](?:{link}[Ei])*+{tail})?+"
    # What is letter and emoji alike is read as a word, unless joined to what is only an emoji.
    letter_emoji = f"i(?:{link}i)*+{link}E(?:{link}[Ei])*+{tail}"

    unparted = f"[Ss][S{x[1:]}"
    ideograph = f"C{x}"
    return "|".join((letter_emoji, word, ideograph, unparted, flag, keycap, emoji))


@cache
def _class_word() -> re.Pattern[str]:
    return re.compile(_grammar())


# A character takes one unit or two.
_CLASS_RUN = re.compile(f"[^{OTHER}]++")
_CLASS_LONG_RUN = re.compile(f"[^{OTHER}]{{{MAX_UNITS // 2 + 1}}}")


def words(text: str) -> list[str]:
    """Return the words of `text` in order, as written."""
    if _plain(text):
        return _ASCII_WORD.findall(text)
    return [text[start:end] for start, end in word_spans(text)]


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of every word of `text`, in characters."""
    if _plain(text):
        return (match.span() for match in _ASCII_WORD.finditer(text))
    classes = text.translate(word_break_classes())
    if not _CLASS_LONG_RUN.search(classes):
        return (match.span() for match in _class_word().finditer(classes))
    return _bounded_spans(text, classes)


def _plain(text: str) -> bool:
    """Whether `text` is ASCII, and no word of it can be too long."""
    return text.isascii() and (len(text) <= MAX_UNITS or not _ASCII_LONG_RUN.search(text))


def _bounded_spans(text: str, classes: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of a text in which a word might exceed `MAX_UNITS`.

    A word lies within one run of characters that are not `OTHER`. In a long run every match is confined to the next
    `MAX_UNITS`, which also keeps the time linear.
    """
    match_word = _class_word().match
    for run in _CLASS_RUN.finditer(classes):
        position, stop = run.span()
        while position < stop:
            match = match_word(classes, position, min(stop, position + MAX_UNITS))
            if match and match.end() - position > MAX_UNITS // 2:
                match = match_word(classes, position, _window(text, position, match.end()))
            if not match:
                position += 1
                continue
            yield match.span()
            position = match.end()


def _window(text: str, start: int, end: int) -> int:
    """Return the largest offset up to `end` with at most `MAX_UNITS` UTF-16 units between `start` and it."""
    units = 0
    for offset in range(start, end):
        units += 2 if text[offset] > "\uffff" else 1
        if units > MAX_UNITS:
            return offset
    return end
