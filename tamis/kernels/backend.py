"""Which kernel runs: the compiled one, in the best instruction set of this processor, or pure NumPy.

The environment variable ``TAMIS_KERNEL`` forces one of ``baseline`` (SSE2 on x86-64, NEON on arm64), ``avx2``, ``avx512``
or ``numpy``. All give the same bytes. It is read once, at the first search.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib import import_module
from types import ModuleType

from tamis.errors import UnknownNameError, UsageError

VARIABLE = "TAMIS_KERNEL"
NAMES = ("baseline", "avx2", "avx512", "numpy")


@cache
def native() -> ModuleType | None:
    """The compiled extension, or None (with one warning) where this installation has none."""
    try:
        return import_module("tamis.kernels._native")
    except ModuleNotFoundError:  # only this: an extension that is there and does not load must say why
        if os.environ.get(VARIABLE) != "numpy":
            warnings.warn(
                "the compiled search kernel is missing (no C compiler when tamis was installed), so searches run on NumPy, "
                "many times slower: install a C compiler and run `pip install --force-reinstall --no-deps tamis`, "
                f"or set {VARIABLE}=numpy to accept this",
                RuntimeWarning,
                stacklevel=2,
            )
        return None


@cache
def available_kernels() -> tuple[str, ...]:
    """The kernels that run here, the fastest first."""
    extension = native()
    return (*(extension.kernels() if extension else ()), "numpy")


@cache
def kernel_name() -> str:
    """The kernel in use.

    Raises:
        UnknownNameError: ``$TAMIS_KERNEL`` is not a kernel's name.
        UsageError: it names a kernel that this processor or installation cannot run.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in NAMES:
        raise UnknownNameError(f"kernel in ${VARIABLE}", wanted, NAMES)
    if wanted == "numpy":
        return wanted
    if wanted and wanted not in available_kernels():
        raise UsageError(
            f"${VARIABLE}={wanted}: this machine runs {', '.join(available_kernels())}; choose one or unset it"
        )
    return wanted or available_kernels()[0]
