"""Language models: load, adapters, the reference, checkpoints in mlx-lm's format."""

from core import blas as blas  # before mlx.core is imported anywhere
from core.models import linux_cpu as linux_cpu  # before a model of mlx-lm is
