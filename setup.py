"""The one part of the build that pyproject.toml cannot say: the compiled sparse kernel.

setuptools was chosen over meson-python and scikit-build-core because the extension needs nothing but a C11 compiler and
CPython's stable ABI: one wheel a platform serves every Python, the build requires no further package, and `optional` lets a
machine without a compiler install all the same (tamis.kernels then runs on NumPy and says so once).

-ffp-contract=off and no fast-math: scores are the same bits on every machine. There is no -march: the sources for AVX2 and
AVX-512 enable their instructions themselves and are chosen at run time. $TAMIS_CFLAGS adds flags, for the sanitizers.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("tamis/kernels/native")
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"]
EXTRA = os.environ.get("TAMIS_CFLAGS", "").split()
STRIP = ["-Wl,--strip-all"] if sys.platform == "linux" and not EXTRA else []  # symbols are a third of the file

setup(
    ext_modules=[
        Extension(
            "tamis.kernels._native",
            sources=sorted(str(path) for path in NATIVE.glob("*.c")),
            depends=sorted(str(path) for path in NATIVE.glob("*.h")),
            extra_compile_args=FLAGS + EXTRA,
            extra_link_args=["-pthread", *STRIP, *EXTRA],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
