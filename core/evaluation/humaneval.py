"""HumanEval (Chen et al. 2021): does a completion hold the problem's tests?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.evaluation.sandbox import Limits, Outcome, Sandbox, here


def check(
    problem: Mapping[str, Any], completion: str, limits: Limits | None = None, sandbox: Sandbox | None = None
) -> Outcome:
    """Run a completion of a problem's prompt against its tests.

    The tests run in a process of their own and call the completed function in another: what it answers goes over as a
    plain value (numbers, text, lists, tuples, sets, dictionaries). An object that claims to equal everything, a
    changed `assert`, an exit or a word printed in time are therefore no pass.

    Args:
        problem: a row of HumanEval.jsonl: prompt, test, entry_point.
        completion: what the model wrote after the prompt.
        sandbox: the best one of this machine when not given.

    Raises:
        UserError: the sandbox is not what it was when it was tried; nothing was run.
    """
    name = str(problem["entry_point"])
    # Some tests use what the prompt defines beside the function. The prompt alone is a program: its docstrings are
    # bodies.
    tests = f"{problem['prompt']}\n{problem['test']}\n{name} = program({name!r})\ncheck({name})\n"
    return (sandbox or here()).run(f"{problem['prompt']}{completion}\n", limits, tests)
