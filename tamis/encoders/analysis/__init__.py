"""Text to index terms, as Lucene's analysers make them, without a Java virtual machine.

``english`` is Anserini's default analyser: Unicode word breaks, English possessives, lower case, 33 stop words, Porter's
stemmer. ``english:none`` is the same without the stemmer. Both equal the analysers of the same names in
`tamis.indexer.lucene.analysis` term by term and offset by offset, on any text: the grammar and the character tables are
checked against Lucene's own automaton (tests/encoders/analysis).

The tables were made by scripts/generate_analysis_tables.py from the jar and the virtual machine that Tamis pins.
"""

from tamis.encoders.analysis.english import ANALYZERS, DEFAULT_ANALYZER, analyze, analyze_offsets

__all__ = ["ANALYZERS", "DEFAULT_ANALYZER", "analyze", "analyze_offsets"]
