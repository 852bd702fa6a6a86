"""A workspace that stands still: its own checklists, gates and runs, at a time that never passes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.screen import ModalScreen

from core.monitor import Monitor, Reading, Sample
from core.store import Database, artifacts, calibrations, facts, metrics, open_store, runs, transaction
from core.store.calibrations import Size
from core.store.facts import Fact
from core.workspace import Workspace, create_workspace
from dpotui.app import Workbench
from dpotui.live import Snapshot

NOW = 1_790_000_000.0

_CHECKLISTS = {
    "0-planning.md": """\
# Pre-DPO Planning <!-- id: plan -->

- [ ] Base model selected <!-- id: plan.base -->
- [ ] Target pair count determined (≥1000) <!-- id: plan.pairs -->
""",
    "1-sft.md": """\
# Stage 1: SFT Preparation <!-- id: sft -->

- [ ] SFT training completed successfully <!-- id: sft.finished fact: sft.finished -->
- [ ] Baseline metrics documented: <!-- id: sft.baseline -->
  - [ ] MMLU score: _____ <!-- id: sft.mmlu fact: sft.mmlu -->
  - [ ] Other domain metrics: _____ <!-- id: sft.domain -->
""",
    "5-dpo.md": """\
# Stage 5: DPO Optimization <!-- id: dpo -->

- [ ] Hyperparameters configured <!-- id: dpo.config -->
- [ ] DPO training started <!-- id: dpo.started fact: dpo.started -->
- [ ] Quality gates checked: <!-- id: dpo.gates -->
  - [ ] KL divergence: _____ (target ≤0.1) <!-- id: dpo.gates.kl fact: dpo.kl_divergence -->
  - [ ] Preference gap: _____ (target ≥0.15) <!-- id: dpo.gates.gap fact: dpo.preference_gap -->
- [ ] Best checkpoint identified <!-- id: dpo.best -->
""",
}
_GATES = """\
gates:
  - {stage: 2, name: pairs, title: "Pair Count", fact: data.pairs, op: ">=", threshold: 1000, unit: "pairs"}
  - {stage: 5, name: kl, title: "KL Divergence", fact: dpo.kl_divergence, op: "<=", threshold: 0.1}
  - {stage: 5, name: gap, title: "Preference Gap", fact: dpo.preference_gap, op: ">=", threshold: 0.15}
  - {stage: 7, name: retention, title: "Capability Retention", fact: eval.retention, op: ">=", threshold: 95, unit: "%"}
"""
CONFIG: dict[str, Any] = {
    "model": {"base_model": "models/base"},
    "constraints": {"kl_target": 0.1, "preference_gap_target": 0.15},
}


def workspace(folder: Path) -> tuple[Workspace, Database]:
    """An empty workspace with a few fixed checklists and gates."""
    made = create_workspace(folder / "demo")
    for path in made.checklists.iterdir():
        path.unlink()
    for name, text in _CHECKLISTS.items():
        (made.checklists / name).write_text(text)
    (made.configs / "gates.yaml").write_text(_GATES)
    return made, open_store(made.database, create=True)


def add_run(db: Database, kind: runs.Kind, **columns: Any) -> str:
    run = runs.create(db, kind, config=CONFIG, config_path=f"configs/{kind}_config.yaml", seed=42)
    runs.update(db, run.id, **{"created": NOW - 600, "started": NOW - 595, "who": "ana", **columns})
    return run.id


def add_metrics(db: Database, run: str, steps: int, seed: int = 3) -> None:
    """What a DPO run would have written, from a seed."""
    chance = random.Random(seed)
    rows: list[tuple[str, int, str, float, float]] = []
    for step in range(1, steps + 1):
        margin = 0.25 * (1 - math.exp(-step / 220))
        rows += [
            (run, step, "loss", 0.693 * math.exp(-margin * 1.2) + chance.gauss(0, 0.03), NOW),
            (run, step, "rewards/margins", margin + chance.gauss(0, 0.04), NOW),
            (run, step, "rewards/accuracies", min(1.0, 0.5 + margin * 1.7), NOW),
            (run, step, "examples_per_second", 11.8 + chance.gauss(0, 0.4), NOW),
        ]
        if step % 50 == 0:
            rows += [
                (run, step, "eval_loss", 0.693 * math.exp(-margin), NOW),
                (run, step, "kl_divergence", 0.1 * (1 - math.exp(-step / 250)), NOW),
            ]
    with transaction(db):
        metrics.write(db, rows)


def add_guard(db: Database, run: str, step: int, actions: int) -> None:
    """So often has the KL guard of a run acted at this step."""
    with transaction(db):
        metrics.write(db, [(run, step, "kl_guard_actions", float(actions), NOW)])


def add_log(db: Database, run: str, *texts: str, level: str = "info") -> None:
    with transaction(db):
        for index, text in enumerate(texts):
            at = NOW - len(texts) + index
            db.execute("INSERT INTO log (run, time, level, text) VALUES (?, ?, ?, ?)", [run, at, level, text])


def busy(db: Database) -> str:
    """A finished SFT run, a failed and a running DPO run, facts, log lines. Returns the id of the running one."""
    sft = add_run(
        db, "sft", state="finished", step=300, steps=300, created=NOW - 9001, started=NOW - 9000, ended=NOW - 8100
    )
    add_run(
        db, "dpo", state="failed", step=31, steps=1000, created=NOW - 7000, started=NOW - 7000, ended=NOW - 6900,
        error="loss is NaN at step 31", hint="lower training.learning_rate",
    )  # fmt: skip
    run = add_run(db, "dpo", state="running", step=412, steps=1000, phase="training", parent=sft)
    facts.record(
        db,
        Fact("sft.finished", 1.0, run=sft, time=NOW - 8100),
        Fact("sft.perplexity", 3.42, run=sft, time=NOW - 8100, n=120),
        Fact("data.pairs", 1204.0, "pairs", time=NOW - 8000, n=1204, source="data/pairs.jsonl"),
        Fact("dpo.started", 1.0, run=run, time=NOW - 595),
        Fact("dpo.kl_divergence", 0.1004, run=run, time=NOW - 30, low=0.0931, high=0.1077, n=32, source="sampled"),
        Fact("dpo.preference_gap", 0.212, run=run, time=NOW - 30, low=0.19, high=0.24, n=256, source="validation"),
    )
    add_metrics(db, run, 412)
    add_log(db, run, *(f"step {step} loss 0.5012 margin 0.193" for step in range(400, 412)))
    add_log(db, run, "pair 118 is longer than max_response_length: cut", level="warning")
    artifacts.record(db, run, "checkpoint", "outputs/dpo/checkpoint-400", "ab" * 32, 4_200_000, 400)
    return run


def add_calibration(db: Database, run: str | None = None, chosen: int | None = 8) -> int:
    """Sizes from 1 to 32 that were tried for DPO; without `chosen` it goes on."""
    subject = {"chip": "Apple M4 Max", "kind": "dpo", "lengths": [128, 256, 368, 208], "models": ["ab" * 32]}
    made = calibrations.begin(
        db, run=run, kind="dpo", chip="Apple M4 Max", subject=subject, limit=48 * 10**9, limit_source="Metal"
    )
    for size, rate in ((1, 4.21), (2, 7.9), (4, 12.6), (8, 14.8), (16, 14.6)):
        calibrations.add(db, made, Size(size, "FITS", rate, (5 + 2 * size) * 10**9, 6.0))
    calibrations.add(db, made, Size(32, "TOO LARGE", None, None, 3.0, "ended the process (SIGABRT)"))
    if chosen is not None:
        calibrations.finish(db, made, chosen, "14.8 pairs/s; 32 is too large (ended the process (SIGABRT))")
    db.execute("UPDATE calibrations SET started = ? WHERE id = ?", [NOW - 300, made])
    db.conn.commit()
    return made


class Looking(Monitor):
    """A machine that was looked at for ten minutes and is not looked at any more: a Mac with macmon, training."""

    def __init__(self) -> None:
        super().__init__()
        self._fixed = tuple(_sample(second) for second in range(-600, 1, 5) if not -400 < second < -340)

    @property
    def samples(self) -> Sequence[Sample]:
        return self._fixed

    def start(self, tell: Callable[[], object], more: Callable[[], Iterable[Reading]] = tuple) -> None:
        tell()


def _sample(second: int) -> Sample:
    busy = second > -420
    wave = math.sin(second / 25)
    cores = tuple(9.0 + 4 * core for core in range(12))
    readings = (
        Reading("gpu", 88 + 6 * wave if busy else 4.0, "%", "macmon", limit=100.0),
        Reading("gpu.memory", (31.5 + wave) * 1e9 if busy else 1.2e9, "B", "ioreg"),
        Reading("cpu", 31 + 8 * wave, "%", "psutil", limit=100.0, parts=cores),
        Reading("memory", (47.0 + wave) * 1e9 if busy else 18e9, "B", "psutil", limit=68.7e9),
        Reading("swap", 0.0, "B", "psutil", limit=0.0),
        Reading("gpu.temperature", 71.4 + 2 * wave if busy else 38.0, "°C", "macmon"),
        Reading("cpu.temperature", None, reason="no sensor answered macmon"),
        Reading("gpu.power", 41.2 + wave, "W", "macmon"),
        Reading("power", 66.0 + wave, "W", "macmon"),
        Reading("thermal", None, source="pmset", text="none recorded"),
    )
    return Sample(NOW + second, {reading.key: reading for reading in readings})


def bench(made: Workspace, *, alive: bool = True, passing: float = 0.0) -> Workbench:
    """`passing`: the seconds that pass from one look at the clock to the next; files are looked at every two."""
    looks = count()
    return Workbench(made, clock=lambda: NOW + passing * next(looks), probe=lambda workspace, db: alive, who="ana")


async def settled(pilot: Pilot[None]) -> Workbench:
    """Wait until the screen in front shows the newest picture, all that it asked for, and nothing is being read."""
    app = pilot.app
    assert isinstance(app, Workbench)
    for _ in range(400):
        await pilot.pause(0.02)
        busy = any(worker.is_running for worker in app.workers) or getattr(app.mode_screen, "looking", False)
        if not busy and app.snapshot is not None and app.snapshot.judged and _answers(app.snapshot, app):
            await pilot.pause()
            return app
    raise AssertionError("no picture of the workspace came")


def _answers(snapshot: Snapshot, app: Workbench) -> bool:
    """Whether the picture has what its screen wants: a thread brings it, sooner or later."""
    screen, watched, results = app.mode_screen, snapshot.watched, snapshot.results
    run, stage, closer = screen.run_watched(snapshot), screen.results_of(), screen.closer()
    if stage is not None and (results is None or (results.stage, results.run) != (stage, run)):
        return False
    if run is None:
        return True
    if watched is None or watched.run.id != run or {other.id for other, _ in watched.beside} != set(closer.beside):
        return False
    return closer.window is None or (watched.detail is not None and watched.detail.window == closer.window)


async def until(pilot: Pilot[None], what: Any) -> None:
    """Wait until `what()` holds, and what came with it is on screen."""
    for _ in range(500):
        if what():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError(f"never: {what}")


def told(app: Workbench) -> list[str]:
    """The notices that are shown."""
    return [notice.message for notice in app._notifications]


def words(app: Workbench) -> str:
    """The screen as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


def prose(app: Workbench) -> str:
    """The screen as words, without the lines that wrap and frame them; of a dialog without what stands beside it."""
    boxes = [child for child in app.screen.children if not (child.id or "").startswith("textual-")]
    region = boxes[0].region if isinstance(app.screen, ModalScreen) and len(boxes) == 1 else app.screen.region
    rows = [strip.crop(region.x, region.right).text for strip in app.screen._compositor.render_strips()]
    return " ".join(" ".join(rows[region.y : region.bottom]).replace("│", " ").split())
