"""The laws of the house that a linter cannot see: who may load MLX, and what the terminal loads to start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from dpotui.cli import COMMANDS

ROOT = Path(__file__).parent.parent

# Each import of these costs the terminal a good part of a second, and MLX brings the GPU with it.
HEAVY = ("mlx", "mlx_lm", "transformers", "tokenizers", "safetensors", "numpy", "huggingface_hub")

# Packages and modules of core that compute.
USES_MLX = (
    "core.data.batches", "core.models", "core.training", "core.generation", "core.evaluation",
    "core.experiments.rank", "core.experiments.spread_candidates",
    *(f"core.handover.{name}" for name in ("export_run", "gguf", "mlx_folder", "peft", "room", "scoring")),
)  # fmt: skip
# Inside a function: the engine's thread, and what `doctor --full` and sums over hosts measure in child processes.
USES_MLX_LAZILY = ("core.engine.host", "core.hardware", "core.experiments.cluster_agent")

# What the terminal and the commands read must answer without loading any of it.
LIGHT = (
    "core.config",
    "core.gates",
    "core.checklist",
    "core.store",
    "core.store.writer",
    "core.data.pairs",
    "core.data.examples",
    "core.data.quality",
    "core.data.lengths",
    "core.model_folder",
    "core.training.forecast",
    "core.handover.request",
    "core.demo",
    "core.engine.client",
    "core.hardware",
    "dpotui.app",
    "dpotui.cli",
    *(module for module, _ in COMMANDS.values()),
)


def _modules() -> list[tuple[str, Path]]:
    found = []
    for package in ("core", "dpotui"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def _imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def _top_level_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        function.body = []
    return _imports(tree)


def test_only_what_computes_imports_mlx() -> None:
    trespassers = [
        name
        for name, path in _modules()
        if {"mlx", "mlx_lm"} & _imports(ast.parse(path.read_text("utf-8")))
        and not name.startswith(USES_MLX)
        and name not in USES_MLX_LAZILY
    ]
    assert trespassers == []


def test_what_may_measure_mlx_does_not_import_it_at_once() -> None:
    paths = dict(_modules())
    for name in USES_MLX_LAZILY:
        assert not {"mlx", "mlx_lm"} & _top_level_imports(paths[name])


def test_every_module_says_in_its_first_line_what_it_is() -> None:
    silent = [name for name, path in _modules() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []


@pytest.mark.parametrize("module", sorted(set(LIGHT)))
def test_it_imports_without_what_is_heavy(module: str) -> None:
    # None in sys.modules makes an import fail. sqlite-utils takes numpy along where it is; it does without.
    program = f"import sys\nsys.modules.update(dict.fromkeys({HEAVY!r}))\nimport {module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
