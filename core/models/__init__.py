"""Language models: load, adapters, the reference, checkpoints in mlx-lm's format."""

from core import blas as blas  # before mlx.core is imported anywhere
