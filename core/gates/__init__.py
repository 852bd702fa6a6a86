"""Quality gates: facts against thresholds."""

from core.gates.enforce import check_quality_gates, enforce_gates, enforced
from core.gates.history import Kept, follow, history, record
from core.gates.thresholds import Gate, load_gates
from core.gates.verdicts import GateResult, Verdict, evaluate, evaluate_run, judge, overall

# The stages by name, as `enforce_gates` and the command line take them.
STAGES = {
    "planning": 0,
    "sft": 1,
    "preference_data": 2,
    "initialization": 3,
    "preference_modeling": 4,
    "dpo_training": 5,
    "iterative_training": 6,
    "evaluation": 7,
}

__all__ = [
    "STAGES",
    "Gate",
    "GateResult",
    "Kept",
    "Verdict",
    "check_quality_gates",
    "enforce_gates",
    "enforced",
    "evaluate",
    "evaluate_run",
    "follow",
    "history",
    "judge",
    "load_gates",
    "overall",
    "record",
]
