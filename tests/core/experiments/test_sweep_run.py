"""A sweep in an engine: trials are runs, killed and gone on with, ended early, stopped, broken and learned from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.config.evaluate import EvalConfig
from core.config.load import load_config
from core.engine.host import InProcessEngine
from core.engine.reasons import reason_of
from core.errors import LostNumbers, UserError
from core.experiments import sweep_run
from core.experiments.sweep_metric import EVALUATED, FACTS, TRAINED, WIN_RATE
from core.experiments.sweep_plan import as_document, plan_sweep
from core.experiments.sweep_promote import chosen, promotion, write
from core.experiments.sweep_standing import standing
from core.experiments.sweep_start import start_sweep
from core.store import Database, commands, engines, facts, runs, trials
from core.store.facts import Fact
from core.workspace import Workspace
from tests.core.training import tiny

Space = tuple[Workspace, Database]

SHORT = ("training.max_steps=4", "training.eval_steps=2", "training.save_steps=2", "training.warmup_steps=0",
         "training.sample_prompts=0", "training.kl_samples=2", "training.kl_max_tokens=4")  # fmt: skip
SWEEP = """\
method: random
metric: {name: eval_rewards/margins, goal: maximize}
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-4, max: 1e-2}
  warmup_ratio: {values: [0.25]}
"""
GRID = "method: grid\nmetric: {name: eval_loss}\nparameters:\n  "


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Space]:
    import yaml

    workspace, db = tiny.workspace(tmp_path / "a workspace", pairs=16)
    plain = tiny.dpo_config().model_dump(mode="json")
    text = "# mine\n" + yaml.safe_dump(plain, sort_keys=False).replace("  beta: 0.1\n", "  beta: 0.1  # how strong\n")
    (workspace.configs / "dpo_config.yaml").write_text(text)
    yield workspace, db


def start(space: Space, text: str = SWEEP, *, trials: int | None = None, overrides: tuple[str, ...] = SHORT) -> str:
    workspace, db = space
    path = workspace.configs / "sweep_config.yaml"
    path.write_text(text)
    plan = plan_sweep(workspace, path, overrides=overrides, trials=trials)
    return start_sweep(workspace, db, plan.config, path).id


def serve(space: Space, until: Callable[[Database], bool]) -> None:
    engine = InProcessEngine(space[0])
    engine.start()
    deadline = time.monotonic() + 120
    try:
        while not until(space[1]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        engine.stop()


def finish(space: Space, sweep: str) -> runs.Run:
    serve(space, lambda db: runs.get(db, sweep).state not in ("queued", *runs.LIVE))
    return runs.get(space[1], sweep)


def told(db: Database, run: str) -> list[str]:
    return [text for (text,) in db.execute("SELECT text FROM log WHERE run = ? ORDER BY id", [run])]


def failing(monkeypatch: pytest.MonkeyPatch, choose: Callable[[Any], Exception | None]) -> list[str]:
    """DPO that only measures: some trials end by an exception. Returns the runs that were executed, as it goes."""
    import optuna

    from core.engine import jobs
    from core.experiments.sweep_study import Study

    # Without a file, too: SQLite would take most of the time.
    monkeypatch.setattr(Study, "_opened", lambda self: optuna.storages.InMemoryStorage())
    monkeypatch.setattr(Study, "close", lambda self: None)
    executed: list[str] = []

    def run(context: Any) -> None:
        executed.append(context.run.id)
        error = choose(context.run)
        if error is not None:
            raise error
        context.prune(2, {"eval_loss": 0.5})
        folder = context.workspace.path(context.run.config["logging"]["output_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        loss = abs(context.run.config["training"]["beta"] - 0.2)
        (folder / "training_metrics.json").write_text(json.dumps({"eval_loss": loss}))
        runs.update(context.db, context.run.id, output_dir=context.run.config["logging"]["output_dir"])
        facts.record(context.db, Fact("dpo.kl_divergence", 0.05, run=context.run.id))

    monkeypatch.setitem(jobs.JOBS, "dpo", run)
    return executed


def test_a_sweep_from_its_file_to_the_best_configuration(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.training.reference_cache import ReferenceCache

    workspace, db = space
    computed: list[float] = []
    plain = ReferenceCache.add

    def add(self: ReferenceCache, pairs: Any, logps: Any) -> None:
        computed.append(time.time())
        plain(self, pairs, logps)

    monkeypatch.setattr(ReferenceCache, "add", add)
    sweep = start(space, trials=2)
    ended = finish(space, sweep)
    assert (ended.state, ended.step, ended.steps) == ("finished", 2, 2)
    of = standing(db, ended)
    assert [trial.state for trial in of.trials] == ["complete", "complete"]
    first = of.runs[1]
    assert (first.name, first.part, first.kind) == (f"{sweep} trial 1", "trial 1", "dpo")
    assert first.output_dir == f"outputs/{sweep}/trial-001"
    for trial in of.trials:
        config = of.runs[trial.number].config
        assert config["training"]["learning_rate"] == trial.parameters["learning_rate"]
        assert config["training"]["warmup_steps"] == 1
        written = json.loads(
            workspace.path(f"outputs/{sweep}/trial-{trial.number:03d}/training_metrics.json").read_text()
        )
        assert trial.value == written["eval_rewards/margins"]
        assert trial.kl == written["kl_divergence"]
        assert len(trial.evaluations) == 1 or [step for step, _ in trial.evaluations] == [2]
        kept = [path.name for path in workspace.path(f"outputs/{sweep}/trial-{trial.number:03d}").glob("checkpoint-*")]
        assert len(kept) <= 2
    # The reference's log-probs are shared: only the first trial computed any.
    assert computed
    assert max(computed) < of.trials[1].began
    assert facts.latest(db).get("dpo.kl_divergence") is None
    assert facts.latest(db)["sweep.best"].value == of.best.value
    # What it promises to know is what a DPO run logs.
    logged = {name for (name,) in db.execute("SELECT name FROM series WHERE run = ?", [first.id])}
    assert set(EVALUATED) | set(TRAINED) == logged - {"epoch", "learning_rate"}
    assert set(FACTS) <= set(facts.of_run(db, first.id))
    # Promote: the values in the file, its comments kept.
    file = workspace.configs / "dpo_config.yaml"
    found = promotion(of, chosen(of, None), file)
    write(found)
    assert [change.key for change in found.changes] == ["training.learning_rate", "training.warmup_steps"]
    text = file.read_text()
    assert text.startswith("# mine\n")
    assert "beta: 0.1  # how strong" in text
    assert promotion(of, chosen(of, None), file).changes == ()
    with pytest.raises(UserError, match="has trials 1 to 2, not 7"):
        chosen(of, 7)


def test_killed_at_any_moment_no_trial_is_lost_or_drawn_twice(space: Space) -> None:
    _, db = space
    sweep = start(space, trials=2)
    serve(space, lambda db: any(run.step >= 1 for run in runs.parts(db, sweep) if run.part == "trial 2"))
    assert runs.get(db, sweep).state == "interrupted"
    # As after a kill -9: the engine's own words are missing, and Optuna knows of a draw that nobody wrote down.
    found = runs.parts(db, sweep)[1]
    assert found.state == "interrupted"
    db.execute("UPDATE engines SET ended = NULL")
    db.conn.commit()
    before = trials.of_sweep(db, sweep)
    runs.requeue(db, sweep)
    assert finish(space, sweep).state == "finished"
    after = trials.of_sweep(db, sweep)
    assert [trial.number for trial in after] == [1, 2]
    assert [trial.drawn for trial in after] == [trial.drawn for trial in before]
    assert [run.part for run in runs.parts(db, sweep)] == ["trial 1", "trial 2"]
    assert after[1].losses == 1
    assert any("resumed from checkpoint" in line for line in told(db, found.id)) or found.step < 2


def test_early_termination_ends_a_trial_between_evaluations(space: Space) -> None:
    _, db = space
    text = """\
method: grid
metric: {name: eval_rewards/margins, goal: maximize}
early_terminate: {type: hyperband, min_iter: 1, eta: 3}
parameters:
  learning_rate: {values: [1.0e-2, 1.0e-6]}
"""
    sweep = start(space, text, overrides=(*SHORT, "training.max_steps=12", "training.eval_steps=6"))
    assert finish(space, sweep).state == "finished"
    good, bad = trials.of_sweep(db, sweep)
    assert (good.state, bad.state) == ("complete", "pruned")
    assert "only the best 33% of 2 trials go on" in bad.reason
    ended = runs.parts(db, sweep)[1]
    assert (ended.state, ended.step) == ("stopped", 6)
    assert ended.hint == bad.reason
    assert any(line.startswith(f"step 6: stopped early by {sweep}") for line in told(db, ended.id))


def test_what_breaks_is_recorded_and_not_tried_again(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    _, db = space

    def choose(run: Any) -> Exception | None:
        training = run.config["training"]
        if training["batch_size"] >= 4:
            return RuntimeError("[metal::malloc] Unable to allocate 99 bytes")
        return (
            LostNumbers("step 3: the gradient is nan (q_proj), training cannot go on")
            if training["beta"] == 0.5
            else None
        )

    failing(monkeypatch, choose)
    sweep = start(space, GRID + "beta: {values: [0.1, 0.5]}\n  batch_size: {values: [4, 2, 8]}\n")
    ended = finish(space, sweep)
    assert ended.state == "finished"
    found = trials.of_sweep(db, sweep)
    assert [(t.parameters["batch_size"], t.parameters["beta"], t.state) for t in found] == [
        (4, 0.1, "out of memory"), (2, 0.1, "complete"), (2, 0.5, "failed"),
    ]  # fmt: skip
    assert found[0].reason.startswith("out of memory")
    assert found[2].reason.startswith("step 3: the gradient is nan")
    assert "3 trials: 1 out of memory, 1 complete, 1 failed; best: trial 2" in "\n".join(told(db, sweep))


def test_out_of_memory_is_known_by_what_is_said_of_it() -> None:
    empty: Any = SimpleNamespace(config={}, kind="dpo")
    run: Any = SimpleNamespace(error=reason_of(MemoryError("no more"), empty).error)
    assert sweep_run.ran_out(run)
    run.error = "the engine was gone without a word, likely for lack of memory: dpo-001 took 30 of 32 GB"
    assert sweep_run.ran_out(run)
    run.error = "step 3: the gradient is nan"
    assert not sweep_run.ran_out(run)


def test_a_trial_that_its_engine_did_not_survive_is_out_of_memory_or_failed(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, db = space
    executed = failing(monkeypatch, lambda run: None)
    sweep = start(space, GRID + "batch_size: {values: [2, 4, 8, 16]}\n")
    lost = engines.register(db, "detached", "0", {})
    keys = {"training.batch_size": 4}
    trials.begin(db, sweep, drawn={"batch_size": 4}, parameters={"batch_size": 4}, keys=keys)
    run = runs.create(db, "dpo", config={}, part_of=sweep, part="trial 1")
    runs.update(
        db, run.id, state="interrupted", engine=lost,
        error="the engine was gone without a word, likely for lack of memory: it took 31 of 32 GB",
    )  # fmt: skip
    assert finish(space, sweep).state == "finished"
    found = trials.of_sweep(db, sweep)
    assert [(t.state, t.parameters["batch_size"]) for t in found] == [("out of memory", 4), ("complete", 2)]
    assert runs.get(db, run.id).state == "failed"
    assert run.id not in executed
    # Gone twice without a sign of why: the trial is over, too.
    other = start(space, GRID + "beta: {values: [0.1, 0.2]}\n")
    begun = trials.begin(db, other, drawn={"beta": 0.1}, parameters={"beta": 0.1}, keys={"training.beta": 0.1})
    trials.update(db, begun, losses=1)
    run = runs.create(db, "dpo", config={}, part_of=other, part="trial 1")
    runs.update(db, run.id, state="interrupted", engine=lost)
    assert finish(space, other).state == "finished"
    assert trials.of_sweep(db, other)[0].reason == "the engine was gone without a word 2 times in it"


def test_a_stopped_trial_is_over_and_the_sweep_goes_on(space: Space) -> None:
    _, db = space
    sweep = start(space, trials=2, overrides=(*SHORT, "training.max_steps=400", "training.eval_steps=200"))
    sent: list[str] = []

    def stop(db: Database) -> bool:
        parts = runs.parts(db, sweep)
        if len(parts) > len(sent) and parts[-1].step >= 2:
            sent.append(parts[-1].id)
            commands.send(db, parts[-1].id if len(sent) == 1 else sweep, "stop", "ana")
        return runs.get(db, sweep).state not in ("queued", *runs.LIVE)

    serve(space, stop)
    assert runs.get(db, sweep).state == "stopped"
    assert [run.state for run in runs.parts(db, sweep)] == ["stopped", "interrupted"]
    found = trials.of_sweep(db, sweep)
    assert [(trial.state, trial.reason) for trial in found] == [("stopped", "stopped by a person"), ("running", "")]


def test_a_target_ends_it_and_a_refusal_is_one_trial_s(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    _, db = space
    executed = failing(monkeypatch, lambda run: None)
    text = "method: grid\nmetric: {name: eval_loss, target: 0.01}\nparameters:\n  label_smoothing: {values: [0.1, 0]}\n"
    sweep = start(space, text + "  loss_type: {values: [sigmoid, cdpo]}\n  beta: {values: [0.2, 0.3]}\n")
    assert finish(space, sweep).state == "finished"
    found = trials.of_sweep(db, sweep)
    assert [trial.state for trial in found] == ["refused", "refused", "complete"]
    assert "label_smoothing: acts only in cdpo" in found[0].reason
    assert len(executed) == 1
    assert "trial 3 reached the target 0.01: no trial follows" in told(db, sweep)
    assert (runs.get(db, sweep).step, runs.get(db, sweep).steps) == (3, 3)


def test_trials_that_fail_for_no_fault_of_their_values_end_the_sweep(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed = failing(monkeypatch, lambda run: OSError(28, "No space left on device"))
    sweep = start(space, trials=9)
    ended = finish(space, sweep)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.startswith("3 trials in a row failed for the same reason, so others would too: the disk is full")
    assert len(executed) == 3
    # Resumed it tries others: what was wrong may have been mended.
    runs.requeue(space[1], sweep)
    assert finish(space, sweep).state == "failed"
    assert len(executed) == 6


def test_win_rate_is_measured_by_an_evaluation_of_each_trial(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.engine import jobs

    workspace, db = space
    failing(monkeypatch, lambda run: None)
    asked: list[dict[str, Any]] = []

    def evaluate(context: Any) -> None:
        asked.append(context.run.config)
        facts.record(context.db, Fact(WIN_RATE, 55.0 + len(asked), "%", run=context.run.id))

    monkeypatch.setitem(jobs.JOBS, "evaluate", evaluate)
    text = (
        "method: random\nmetric: {name: validation/win_rate, goal: maximize}\nparameters: {beta: {min: 0.1, max: 1.0}}"
    )
    with pytest.raises(UserError, match=r"judge: is missing, and validation/win_rate of each trial needs one"):
        (workspace.configs / "eval_config.yaml").write_text(
            "alignment_evaluation:\n  preference_validation: {test_set: data/pairs_val.jsonl}\n"
        )
        start(space, text)
    (workspace.configs / "eval_config.yaml").write_text(
        "alignment_evaluation:\n  preference_validation:\n    test_set: data/pairs_val.jsonl\n"
        "    judge: {kind: reward, model: models/tiny}\nmodel: {final: outputs/other, baseline: models/tiny}\n"
    )
    load_config(workspace.configs / "eval_config.yaml", EvalConfig)
    sweep = start(space, text, trials=2)
    assert finish(space, sweep).state == "finished"
    assert [trial.value for trial in trials.of_sweep(db, sweep)] == [56.0, 57.0]
    assert asked[1]["model"]["final"] == f"outputs/{sweep}/trial-002"
    assert asked[1]["evaluation"]["parts"] == ["win_rate"]
    parts = [run.part for run in runs.parts(db, sweep)]
    assert parts == ["trial 1", "trial 1 evaluation", "trial 2", "trial 2 evaluation"]
    assert WIN_RATE not in facts.latest(db)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (
            "metric: {name: eval_los}\nparameters: {beta: {min: 0.1, max: 1.0}}",
            ":2: metric.name: no trial logs 'eval_los'",
        ),
        ("parameters:\n  betta: {min: 0.1, max: 1.0}", ":3: parameters.betta: 'betta' is no key of dpo_config.yaml"),
        ("parameters:\n  beta: {min: -2.0, max: -1.0}", ":3: parameters.beta: every value is refused: training.beta:"),
        (
            "parameters:\n  batch_size:\n    values: [2, 0]",
            ":4: parameters.batch_size.values.1: training.batch_size: must",
        ),
        (
            "parameters:\n  warmup_ratio: {values: [0.1, 1.5]}",
            "warmup_ratio: must be a share from 0 to below 1, not 1.5",
        ),
        ("parameters:\n  warmup_ratio: {value: 0.1}\n  warmup_steps: {value: 2}", "as warmup_ratio does: keep one"),
        (
            "metric: {name: dpo.kl_divergence}\nearly_terminate: {type: hyperband, min_iter: 1}\nparameters:"
            " {beta: {min: 0.1, max: 1.0}}",
            "early_terminate: dpo.kl_divergence is known only when a trial has ended",
        ),
        ("metric: {name: win_rate, target: 0.6}\nparameters: {beta: {min: 0.1, max: 1.0}}", "in percent here"),
    ],
)
def test_what_no_trial_could_do_is_refused_before_the_first(space: Space, text: str, word: str) -> None:
    with pytest.raises(UserError) as raised:
        start(space, f"method: random\n{text}\n")
    assert word in str(raised.value)
    assert runs.listing(space[1], kind="sweep") == []


def test_a_plan_says_what_will_be_drawn_and_what_to_mind(space: Space) -> None:
    workspace, _ = space
    path = workspace.configs / "sweep_config.yaml"
    path.write_text(
        "method: bayes\nmetric: {name: eval_rewards/margins, goal: maximize}\nrun_cap: 5\n"
        "early_terminate: {type: hyperband, min_iter: 50}\n"
        "parameters:\n  beta: {min: 0.05, max: 0.3}\n  warmup_ratio: {min: 0.0, max: 0.2}\n"
        "  batch_size: {values: [2, 4]}\n"
    )
    plan = plan_sweep(workspace, path, overrides=SHORT)
    told = as_document(plan)
    assert (told["trials"], told["method"], told["steps_per_trial"]) == (5, "bayes", [4, 4])
    assert told["pairs_per_trial"] == [16, 32]
    beta, warmup, size = told["parameters"]
    assert (beta["key"], beta["min"], beta["max"], len(beta["draws"])) == ("training.beta", 0.05, 0.3, 5)
    assert (warmup["key"], warmup["becomes"]) == ("training.warmup_steps", "round(warmup_ratio * max_steps)")
    assert size["values"] == [2, 4]
    notes = "\n".join(told["notes"])
    assert "grows with training.beta by itself" in notes
    assert "early_terminate never stops a trial: its first band is evaluation 50, and a trial has 1" in notes
    # A grid is as long as it is; without a metric DPO's own choice counts.
    path.write_text("method: grid\nparameters:\n  batch_size: {values: [2, 4]}\n  rank: {min: 1, max: 3}\n")
    grid = plan_sweep(workspace, path, overrides=SHORT)
    assert grid.config.trials == 6
    assert "no metric is named: trials are compared by eval_rewards/margins" in grid.notes[0]


def test_a_metric_of_training_is_that_of_the_last_report(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.engine import jobs

    _, db = space

    def report(context: Any) -> None:
        context.metrics(1, {"loss": 0.7})
        context.metrics(2, {"loss": 0.6})
        context.writer.flush()

    failing(monkeypatch, lambda run: None)
    monkeypatch.setitem(jobs.JOBS, "dpo", report)
    sweep = start(
        space, "method: random\nmetric: {name: train/loss}\nparameters: {beta: {min: 0.1, max: 1.0}}\n", trials=1
    )
    assert finish(space, sweep).state == "finished"
    (trial,) = trials.of_sweep(db, sweep)
    assert (trial.value, trial.kl) == (0.6, None)
