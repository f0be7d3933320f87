"""tamis.data: the public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import tamis.data


def test_every_public_name_is_there() -> None:
    assert sorted(tamis.data.__all__) == sorted(tamis.data._HOMES)
    for name in tamis.data.__all__:
        assert getattr(tamis.data, name).__name__ == name


def test_importing_everything_loads_nothing_heavy() -> None:
    code = (
        "import sys, tamis.data as d; [getattr(d, n) for n in d.__all__];"
        "print(*[m for m in ('ir_datasets', 'ir_measures', 'pyarrow', 'scipy', 'torch', 'jpype') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
