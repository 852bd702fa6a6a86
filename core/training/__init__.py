"""One training loop; SFT and DPO as objectives on it."""

from core import blas as blas  # before mlx.core is imported anywhere
