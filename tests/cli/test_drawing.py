from __future__ import annotations

import pytest

from tamis.cli.drawing import clean, format_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_499, "99.5 kB"),
        (99_500, "100 kB"),
        (999_499, "999 kB"),
        (999_999, "1.0 MB"),
        (3_210_000_000, "3.2 GB"),
        (2 * 10**15, "2000 TB"),
    ],
)
def test_format_bytes(size, text):
    assert format_bytes(size) == text


def test_clean_leaves_nothing_that_a_terminal_obeys():
    assert clean(" a\n\tb \x1b[31mred\x07 \u202eevil \ud800") == "a b \ufffd[31mred\ufffd \ufffdevil \ufffd"
