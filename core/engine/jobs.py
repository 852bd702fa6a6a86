"""What each kind of run does. Importing this module loads MLX."""

from __future__ import annotations

from collections.abc import Callable

from core.engine import data_check
from core.experiments import launching
from core.training import calibrate_run, dpo_run, init_check, reward_run, sft_run
from core.training.calibration import TrainingKind
from core.training.context import Context

Job = Callable[[Context], None]


def training(kind: TrainingKind, job: Job) -> Job:
    """The job with what comes before every training: a number for `batch_size: auto`, and the memory it will take."""

    def run(context: Context) -> None:
        calibrate_run.settle_batch_size(context, kind)
        expected = calibrate_run.foresee_memory(context, kind)
        if launching.wanted(context) and launching.train(context):
            return  # its memory was taken by other processes
        job(context)
        calibrate_run.compare_memory(context, expected)

    return run


def check_init(context: Context) -> None:
    calibrate_run.settle_batch_size(context, "dpo", measure=False)
    init_check.run(context)


def generate(context: Context) -> None:
    from core.experiments.spread_generate import answerer
    from core.generation import generate_run

    with answerer(context) as answers:
        generate_run.run(context, answers)


def judge(context: Context) -> None:
    from core.generation import judge_run

    judge_run.run(context)


def evaluate(context: Context) -> None:
    from core.evaluation import evaluate_run
    from core.experiments import spread_evaluate

    with spread_evaluate.parts(context) as parts:
        evaluate_run.run(context, parts)


def iterate(context: Context) -> None:
    from core.experiments import iterate_run

    iterate_run.run(context)


def sweep(context: Context) -> None:
    from core.experiments import sweep_run

    sweep_run.run(context)


def export(context: Context) -> None:
    from core.handover import export_run

    export_run.run(context)


JOBS: dict[str, Job] = {
    "sft": training("sft", sft_run.run),
    "data_check": data_check.run,
    "generate": generate,
    "judge": judge,
    "init_check": check_init,
    "reward": training("reward", reward_run.run),
    "dpo": training("dpo", dpo_run.run),
    "evaluate": evaluate,
    "export": export,
    "calibrate": calibrate_run.run,
    "sweep": sweep,
    "iterate": iterate,
}
