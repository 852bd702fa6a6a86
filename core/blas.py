"""Load OpenBLAS ahead of MLX on Linux: MLX's own wheels carry a reference BLAS, about twenty times slower.

Import this module before `mlx.core`; the packages that use MLX do so in their `__init__`.
"""

from __future__ import annotations

import ctypes
import sys

INSTALL = "apt-get install libopenblas0-pthread"


def _load() -> str | None:
    """The name of the library that now serves BLAS in this process, or None."""
    if sys.platform != "linux":
        return None
    for name in ("libopenblas.so.0", "libopenblas.so"):
        try:
            # RTLD_GLOBAL puts its cblas_* symbols before those of MLX's own copy.
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return name
    return None


OPENBLAS = _load()
