"""A sweep in a workspace, as an engine would have written it: seven trials of every kind of end, and one that is on."""

from __future__ import annotations

from typing import Any

from core.config import DPOConfig
from core.config.document import parse
from core.config.sweep import SweepConfig
from core.store import Database, facts, runs, trials
from core.store.facts import Fact
from core.workspace import Workspace
from tests.dpotui import scene

FILE = """\
method: bayes
metric: {name: validation/rewards/accuracies, goal: maximize}
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-6, max: 1e-2}
  beta: {min: 0.05, max: 0.3}
  batch_size: {values: [2, 4, 8]}
  warmup_ratio: {min: 0.05, max: 0.15}
"""
# Learning rate, β, batch size, warmup ratio; state, value and KL, reason.
ENDED: tuple[tuple[tuple[float, float, int, float], trials.State, float | None, float | None, str], ...] = (
    ((3.1e-5, 0.12, 4, 0.09), "complete", 0.61, 0.021, ""),
    ((8.2e-3, 0.07, 2, 0.14), "failed", None, None, "step 12: the gradient is nan (q_proj), training cannot go on"),
    ((9.4e-4, 0.21, 8, 0.06), "out of memory", None, None, "out of memory ([metal::malloc] Unable to allocate)"),
    ((2.2e-3, 0.06, 4, 0.11), "complete", 0.93, 0.184, ""),
    ((7.7e-4, 0.18, 2, 0.08), "complete", 0.88, 0.071, ""),
    ((2.0e-6, 0.29, 4, 0.12), "pruned", None, None, "stopped early: at evaluation 2 it is at 0.51"),
    ((1.4e-4, 0.25, 2, 0.10), "stopped", None, None, "stopped by a person"),
)


def add_sweep(workspace: Workspace, db: Database, *, live: bool = True) -> str:
    """The sweep's id; with `live` its eighth trial is in training, else it was stopped."""
    text = "# of the team\n" + DPO
    (workspace.configs / "dpo_config.yaml").write_text(text)
    base = DPOConfig.model_validate(parse(text, "dpo_config.yaml").value)
    config = SweepConfig(file="configs/sweep_config.yaml", sweep=parse(FILE, "sweep").value, base=base, trials=12)
    sweep = scene.add_run(db, "sweep", name="rates", step=7, steps=12, state="running" if live else "stopped")
    runs.update(db, sweep, config=config.model_dump(mode="json"), output_dir=f"outputs/{sweep}")
    for values, state, value, kl, reason in ENDED:
        trial = _begun(db, sweep, values)
        run = _run(
            db, sweep, trial, "finished" if state == "complete" else "stopped" if state != "failed" else "failed"
        )
        trials.end(db, trial, state, reason, run=run, value=value, kl=kl, evaluations=[(20, 0.55), (40, value or 0.5)])
        if kl is not None:
            facts.record(db, Fact("dpo.kl_divergence", kl, run=run, time=scene.NOW))
        db.execute("UPDATE trials SET began = ?, ended = ? WHERE run = ?", [scene.NOW - 500, scene.NOW - 417, run])
    if live:
        trial = _begun(db, sweep, (5.0e-4, 0.15, 4, 0.07))
        trials.update(db, trial, run=_run(db, sweep, trial, "running"))
    trials.keep_importances(
        db, sweep, {"learning_rate": 0.62, "beta": 0.25, "batch_size": 0.1, "warmup_ratio": 0.03}, 7
    )
    db.conn.commit()
    return sweep


def _begun(db: Database, sweep: str, values: tuple[float, float, int, float]) -> trials.Trial:
    rate, beta, size, warmup = values
    parameters: dict[str, Any] = {"learning_rate": rate, "beta": beta, "batch_size": size, "warmup_ratio": warmup}
    keys = {"training.learning_rate": rate, "training.beta": beta, "training.batch_size": size,
            "training.warmup_steps": round(warmup * 60)}  # fmt: skip
    return trials.begin(db, sweep, drawn=parameters, parameters=parameters, keys=keys)


def _run(db: Database, sweep: str, trial: trials.Trial, state: str) -> str:
    run = scene.add_run(db, "dpo", state=state, step=41 if state == "running" else 60, steps=60,
                        created=scene.NOW - 590 + trial.number)  # fmt: skip
    runs.update(db, run, part_of=sweep, part=f"trial {trial.number}", name=f"rates trial {trial.number}")
    return run


DPO = """\
model:
  base_model: models/tiny
  reference_model: models/tiny
  policy_model: models/tiny
data:
  train_file: data/pairs_train.jsonl
  validation_file: data/pairs_val.jsonl
  max_prompt_length: 64
  max_response_length: 64
training:
  learning_rate: 1.0e-5  # the peak
  beta: 0.1
  batch_size: 4
  max_steps: 60
  warmup_steps: 3
constraints:
  kl_target: 0.1
  preference_gap_target: 0.15
logging:
  output_dir: outputs/dpo
"""
