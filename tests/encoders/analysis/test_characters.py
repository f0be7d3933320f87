"""The tables: every code point, alone and in company, analysed as Lucene does; the script that makes them; odd mappings."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tamis.encoders.analysis import analyze
from tamis.encoders.analysis.tables import LOWER_CASE, OTHER, WORD_BREAKS, lower_case, word_break_classes
from tamis.encoders.analysis.words import CLASSES

SCRIPT = Path(__file__).parents[3] / "scripts" / "generate_analysis_tables.py"
CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]
BATCH = 1 << 13


@pytest.mark.parametrize(
    ("code", "letter"),
    [
        (0x5EF, "H"),  # Unicode 11
        (0x1B150, "C"),  # Unicode 12
        (0x4DB6, OTHER),  # Unicode 13
        (0x30000, OTHER),  # Unicode 13
        (0xD800, OTHER),
        (0x10FFFF, OTHER),
        (0x2139, "i"),
        (0x3A, ":"),
    ],
)
def test_classes_are_of_unicode_12(code: int, letter: str) -> None:
    assert word_break_classes()[code] == letter


def test_every_letter_of_the_grammar_is_used() -> None:
    assert {word_break_classes()[code] for code in CODE_POINTS} == {OTHER, *CLASSES}


def test_memory_of_classes_is_bounded() -> None:
    classes = word_break_classes()
    assert all(classes[code] == classes[code] for code in range(0x110000))
    assert len(classes) <= 1 << 16


@pytest.mark.parametrize(
    ("character", "expected"),
    [
        ("I", "i"), ("ı", "ı"), ("İ", "i"), ("À", "à"), ("Σ", "σ"), ("ẞ", "ß"), ("ß", "ß"), ("ǅ", "ǆ"), ("\u2126", "ω"),
        ("\u212a", "k"), ("\u1c90", "\u10d0"), ("\u13a0", "\uab70"), ("\uff21", "\uff41"), ("\u2160", "\u2170"),
        ("\u24b6", "\u24d0"), ("\ua7c0", "\ua7c1"), ("\U00010570", "\U00010597"), ("\U0001e900", "\U0001e922"),
        ("\u1c89", "\u1c89"),  # cased since Unicode 16
    ],
)  # fmt: skip
def test_lower_case_is_the_simple_mapping(character: str, expected: str) -> None:
    assert lower_case(f"{character}É") == f"{expected}é"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip(f"{SCRIPT} is not part of this installation")
    spec = importlib.util.spec_from_file_location("generate_analysis_tables", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_script_reproduces_the_tables(
    lucene: Any, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
    assert script.main() == 0
    stale = tmp_path / LOWER_CASE.name
    stale.write_bytes(LOWER_CASE.read_bytes().replace(b"41\t5a\t1\t32", b"41\t59\t1\t32"))
    monkeypatch.setattr(script, "LOWER_CASE", stale)
    assert script.main() == 1
    assert stale.name in capsys.readouterr().err
    assert WORD_BREAKS.stat().st_size + LOWER_CASE.stat().st_size < 40_000


@pytest.mark.slow
@pytest.mark.parametrize("context", ["{0}", "q{0}q", "{0}{0}'S", "0{0}0 ☃{0}\u200d☃", "א{0}א カ{0}カ"])
def test_every_code_point_equals_lucene(lucene: Any, context: str) -> None:
    for start in range(0, len(CODE_POINTS), BATCH):
        text = " ".join([context.format(chr(code)) for code in CODE_POINTS[start : start + BATCH]])
        expected = lucene.analyze(text)
        assert analyze(text) == expected, f"code points from {CODE_POINTS[start]:#x}"
