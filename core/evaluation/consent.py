"""Code that a model writes runs only where a person agreed: what a configuration comes to, told before it starts."""

from __future__ import annotations

from core.config.evaluate import EvalConfig
from core.errors import UserError
from core.evaluation import sandbox
from core.evaluation.harness_definitions import defined
from core.workspace import Workspace

# The key by which a person agrees; it is false until somebody sets it.
KEY = "run_generated_code"


def told(workspace: Workspace, config: EvalConfig) -> list[str]:
    """What is to be known of code that a model writes, a line each; nothing where no benchmark asks for code.

    Where code will be run the sandbox of this machine is tried, which takes a moment the first time.
    """
    if "benchmarks" not in config.parts:
        return []
    agreed, lines = [], []
    for name, benchmark in config.capability_benchmarks.items():
        if not _asks_for_code(workspace, benchmark.task or name, own=benchmark.answer is not None):
            continue
        if benchmark.run_generated_code:
            agreed.append(name)
        else:
            lines.append(
                f"{name} is not measured: code that the model writes is not run until a person agrees, by"
                f" capability_benchmarks.{name}.{KEY}=true"
            )
    if agreed:
        lines.append(f"{', '.join(agreed)} runs code that the model writes; {_where()}")
    return lines


def _asks_for_code(workspace: Workspace, task: str, *, own: bool) -> bool:
    try:
        definition = None if own else defined(workspace, task)
    except UserError:
        return False  # the run says what is wrong with it
    return definition is not None and definition.metadata.check is not None


def _where() -> str:
    try:
        found = sandbox.here()
    except UserError as error:
        return str(error)
    holds = f"sandbox: {found.kind}"
    return f"{holds}; NOT enforced here: {'; '.join(found.missing)}" if found.missing else f"{holds}, every limit holds"
