"""A workspace in which every text that can come from elsewhere tries to command the terminal."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import yaml

from core.store import facts, gradients, runs, samples, transaction
from core.store.database import storable
from core.store.facts import Fact
from core.store.samples import Sample
from core.workspace import Workspace
from tests.dpotui import scene
from tests.dpotui.hostile import POISON, texts


def workspace(folder: Path) -> Workspace:
    made, db = scene.workspace(folder)
    poison = [*POISON.values(), *texts(23, 40)]
    short = [storable(text[:300]) for text in poison]
    lines = [" ".join(text.split()) for text in short]
    with closing(db):
        run = scene.busy(db)
        config = {
            "model": {"base_model": short[0], "policy_model": short[5]},
            "constraints": {"kl_target": 0.1},
            **{f"{key} {text[:40]}": {text[:60]: text} for key, text in zip(POISON, short, strict=False)},
        }
        other = runs.create(db, "dpo", config=config, config_path=f"configs/{short[8]}", seed=1)
        for number, text in enumerate(short):
            db.execute(
                "UPDATE runs SET name = ?, error = ?, hint = ?, phase = ? WHERE id = ?",
                [text, text, text, text, ("dpo-001", run, other.id)[number % 3]],
            )
        db.execute("UPDATE runs SET state = 'failed', started = 1, ended = 2 WHERE id = ?", [other.id])
        runs.update(db, run, tags=tuple(short[:6]))
        facts.record(db, *(Fact(f"x.{text[:30]}", 0.5, text[:20], run=run, source=text) for text in short))
        facts.record(db, Fact("dpo.kl_divergence", 0.2, run=run, source=short[1], n=3))
        samples.record(
            db,
            [
                Sample(run, step, "policy", line, text, text, "stop", 9)
                for step in (100, 200)
                for line, text in enumerate(short[:20])
            ],
        )
        gradients.record(db, run, 200, {text[:60] or "x": float(n) for n, text in enumerate(short)})
        scene.add_log(db, run, *short, level="error")
        scene.add_log(db, run, *(f"Traceback\n  {text}\n{text}" for text in short))
        with transaction(db):
            db.execute("UPDATE facts SET source = ? WHERE source = 'validation'", [short[9]])
    (made.checklists / "6-hostile.md").write_text(
        "# Hostile [bold]title[/bold] [/] \x1b[31m\x9b2J <!-- id: hostile -->\n\n"
        + "".join(f"- [ ] {line or 'x'} _____ <!-- id: hostile.i{n} -->\n" for n, line in enumerate(lines)),
        encoding="utf-8",
        newline="",
    )
    rows = [{"prompt": text, "chosen": text * 2, "rejected": text + "!", "source": text} for text in poison]
    rows.append({"prompt": "x\x1b[31m" * 150_000, "chosen": "a", "rejected": "b", "source": "1 MB"})
    (made.data / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (made.data / "na[red]me\x1b[31m\u202e.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    (made.configs / "dpo_hostile.yaml").write_text(
        yaml.safe_dump({"model": {"base_model": short[3], "nope \x1b[2J": short[4]}, "data": {"train_file": short[8]}}),
        encoding="utf-8",
    )
    return made


def with_hostile_gates(made: Workspace) -> Workspace:
    """A file of gates that is not well: what is wrong is said with its own words."""
    gate = {"stage": 5, "name": "kl", "title": "\x1b[31m[red]KL\x9b2J\u202e", "fact": "dpo.kl_divergence", "op": "<="}
    (made.configs / "gates.yaml").write_text(
        yaml.safe_dump({"gates": [{**gate, "threshold": 0.1, "unit": "\x1b]52;c;eA==\x07"}]}), encoding="utf-8"
    )
    return made
