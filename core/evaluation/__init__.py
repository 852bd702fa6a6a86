"""Measurements on a trained model: exact KL, perplexity."""

from core import blas as blas  # before mlx.core is imported anywhere
