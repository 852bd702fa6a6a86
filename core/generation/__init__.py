"""Sampling responses."""

from core import blas as blas  # before mlx.core is imported anywhere
