"""One analyser by name, in Python or in Lucene, with the same terms."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tamis.encoders.analysis import ANALYZERS as PORTED
from tamis.indexer.analysis import TextAnalyzer
from tamis.indexer.lucene.analysis import ANALYZERS, make_analyzer, token_offsets, tokenize

TEXT = "The cook's drums, sieving purées in 東京 and \U0001d518nicode"


@pytest.mark.parametrize("name", ANALYZERS)
def test_terms_and_offsets_are_lucenes(name: str) -> None:
    analyzer = TextAnalyzer(name)
    assert analyzer.terms(TEXT) == tokenize(make_analyzer(name), TEXT)
    assert analyzer.offsets(TEXT) == token_offsets(make_analyzer(name), TEXT)
    assert analyzer.terms("") == []


@pytest.mark.parametrize("name", [*PORTED, "whitespace"])
def test_lone_surrogates(name: str) -> None:
    assert "drum" in TextAnalyzer(name).terms("drum \ud800 cook")


def test_java_is_started_for_others_only() -> None:
    program = (
        "import sys\n"
        "from tamis.indexer.analysis import TextAnalyzer\n"
        "TextAnalyzer('english').offsets('drums'); TextAnalyzer('english:none').terms('drums'); TextAnalyzer('de')\n"
        "print('jpype' in sys.modules)\n"
        "TextAnalyzer('de').terms('Trommeln')\n"
        "print('jpype' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
