"""The client starts without what trains: loading MLX, transformers or a model's libraries is most of a start."""

from __future__ import annotations

import subprocess
import sys

_LOOK = """
import sys
import dpotui.app, dpotui.commands.open
import core.checklist, core.gates, core.config, core.engine.client
heavy = {"mlx", "mlx_lm", "transformers", "tokenizers", "torch", "huggingface_hub", "numpy", "pandas"}
loaded = {name.split(".")[0] for name in sys.modules}
import numpy  # what was left out can still be had
print(sorted(heavy & loaded))
"""


def test_the_client_loads_nothing_that_trains() -> None:
    found = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


_VOTING = """
import sys
import dpotui.app
mine = ("core.data.votes", "core.data.pairs", "dpotui.screens.vote")
print(sorted(name for name in sys.modules if name.startswith(mine)))
"""


def test_voting_is_read_when_it_is_gone_to() -> None:
    found = subprocess.run([sys.executable, "-c", _VOTING], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
