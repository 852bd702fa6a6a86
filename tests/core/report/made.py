"""A workspace whose whole history is known: SFT, reward model, DPO, both evaluations, and what people said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.store import Database, artifacts, benchmarks, facts, files, log, metrics, notes, open_store, runs, transaction
from core.store.benchmarks import Result
from core.store.facts import Fact
from core.workspace import Workspace, create_workspace

NOW = 1_790_000_000.0
SHA = "ab" * 32


def workspace(folder: Path) -> tuple[Workspace, Database]:
    made = create_workspace(folder)
    return made, open_store(made.database, create=True)


def run(db: Database, kind: runs.Kind, config: dict[str, Any], **columns: Any) -> str:
    made = runs.create(db, kind, config=config, seed=42)
    at = NOW + 100 * int(db.execute("SELECT count(*) FROM runs").fetchone()[0])
    told = {"state": "finished", "created": at, "started": at + 1, "ended": at + 91, "who": "ana"}
    runs.update(db, made.id, **(told | columns))
    return made.id


def curve(db: Database, run_id: str, name: str, values: list[float]) -> None:
    with transaction(db):
        metrics.write(db, [(run_id, step, name, value, NOW) for step, value in enumerate(values)])


def warn(db: Database, run_id: str, text: str) -> None:
    with transaction(db):
        db.execute("INSERT INTO log (run, time, level, text) VALUES (?, ?, 'warning', ?)", [run_id, NOW, text])
    assert log.lines(db, run_id, level="warning")


def rate(
    db: Database, criterion: str, mark: int, note: str = "", who: str = "bo", key: str = "k", file: str = "a"
) -> None:
    with transaction(db):
        db.execute(
            "INSERT INTO ratings (key, criterion, mark, note, who, file, line, time) VALUES (?, ?, ?, ?, ?, ?, 1, ?)",
            [key, criterion, mark, note, who, file, NOW],
        )


def result(run_id: str, subject: benchmarks.Subject, name: str, value: float, **conditions: Any) -> Result:
    told = {"harness": "lm_eval 0.4.13", "shots": 5, **conditions}
    return Result(run_id, subject, name, "accuracy", value, 200, f"outputs/{name}.jsonl", "model", told,
                  stderr=0.03, low=value - 0.06, high=value + 0.06, chance=0.25, time=NOW)  # fmt: skip


def whole(folder: Path, *, good: bool = False) -> tuple[Workspace, Database]:
    """All stages. `good`: everything that can be measured passes."""
    made, db = workspace(folder)
    data = made.data / "pairs.jsonl"
    data.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    (made.data / "val.jsonl").write_text('{"prompt": "d", "chosen": "e", "rejected": "f"}\n')
    model = made.checkpoints / "sft"
    model.mkdir()
    (model / "config.json").write_text("{}")
    inputs = files.fingerprints(db, made, "data/pairs.jsonl", "checkpoints/sft")
    split = {"train_file": "data/pairs.jsonl", "validation_file": "data/val.jsonl"}
    sft = run(db, "sft", {"model": {"base_model": "models/base", "checkpoint": "checkpoints/sft"}, "data": split})
    artifacts.record(db, sft, "model", "checkpoints/sft", SHA, 10)
    baseline = run(
        db, "evaluate", {"evaluation": {"subject": "baseline", "seed": 1}, "model": {"baseline": "checkpoints/sft"}}
    )
    run(db, "reward", {"model": {"checkpoint": "checkpoints/reward"}, "data": split})
    dpo = run(
        db,
        "dpo",
        {"model": {"reference_model": "checkpoints/sft"}, "data": split, "constraints": {"kl_target": 0.1},
         "training": {"beta": 0.2}},
        output_dir="outputs/dpo",
        inputs=inputs,
    )  # fmt: skip
    final = run(
        db,
        "evaluate",
        {
            "evaluation": {"subject": "final", "seed": 2},
            "model": {"final": "outputs/dpo", "baseline": "checkpoints/sft"},
        },
    )
    curve(db, sft, "loss", [4.0, 2.0, 1.0, 0.5])
    curve(db, dpo, "loss", [0.69 - 0.001 * step for step in range(300)])
    curve(db, dpo, "kl_divergence", [0.0005 * step for step in range(300)])
    warn(db, dpo, "the batch size was lowered to 4")
    for name, before, after in (("mmlu", 0.5, 0.49), ("gsm8k", 0.4, 0.3)):
        benchmarks.record(db, result(baseline, "baseline", name, before))
        benchmarks.record(
            db,
            result(final, "final", name, after if not good else before, shots=8 if name == "gsm8k" and not good else 5),
        )
    rate(db, "helpfulness", 8, "clear, but long")
    rate(db, "helpfulness", 6, who="cy")
    notes.add(db, f"run:{dpo}", "margins grew too fast", "ana")
    db.execute("UPDATE notes SET time = ?", [NOW])
    db.conn.commit()

    def fact(name: str, value: float | None, unit: str = "", run_id: str = final, **more: Any) -> Fact:
        return Fact(name, value, unit, run_id, **({"time": NOW, "source": "measured", "inputs": inputs} | more))

    facts.record(
        db,
        fact("dpo.kl_divergence", 0.08 if good else 0.1004, run_id=dpo, low=0.07, high=0.12, n=64),
        fact("dpo.preference_gap", 0.4, run_id=dpo, n=100),
        fact("eval.retention", 96.0 if good else 91.5, "%", low=88.0, high=97.0, n=400),
        fact("eval.win_rate", 61.0, "%", low=55.0, high=66.0, n=200),
        fact(
            "eval.kl_divergence", 0.08 if good else None, source="measured" if good else "the policy cannot sample here"
        ),
    )
    if good:
        facts.record(
            db,
            fact("eval.preference_gap", 0.4),
            fact("eval.decontamination", 1.0),
            fact("eval.critical_regressions", 0.0, "benchmarks"),
            *(fact(name, 0.6) for name in ("eval.mmlu", "eval.humaneval", "eval.gsm8k", "eval.domain", "sft.mmlu")),
            *(fact(name, 0.6) for name in ("sft.humaneval", "sft.gsm8k", "sft.domain")),
            fact("eval.human_score", 7.0, "/10"),
            fact("eval.checkpoint_loaded", 1.0),
        )
    return made, db
