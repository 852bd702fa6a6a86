"""Weights & Biases, online or as a folder that `wandb sync` sends: rows with TRL's names over `train/global_step`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from core.tracking.names import charted
from core.tracking.tracker import Final, Opened, Options, Row, Subject, Summary

STEP = "train/global_step"  # as transformers has it
_LOGIN = "set WANDB_API_KEY in the shell that starts dpotui, or 'wandb login', or wandb_mode: offline"
# Nothing of this machine is told; and a server that does not answer is tried again by the feeder.
_SETTINGS = {
    "console": "off", "disable_git": True, "disable_code": True, "disable_job_creation": True, "host": "",
    "x_disable_stats": True, "x_disable_meta": True, "x_disable_machine_info": True, "x_save_requirements": False,
    "init_timeout": 60.0, "finish_timeout": 60.0, "finish_timeout_raises": True,
}  # fmt: skip


class WandbTracker:
    def __init__(self) -> None:
        self._run: Any = None
        self._next = 0  # W&B's own count of rows

    def open(self, subject: Subject, options: Options, key: str) -> Opened:
        offline = options.mode == "offline"
        folder = Path(options.root) / "outputs"
        folder.mkdir(mode=0o700, exist_ok=True)
        unique = key or subject.unique
        # A folder cannot be gone on with: it is written anew from the first row on, which is all in runs.db.
        before = list((folder / "wandb").glob(f"offline-run-*-{unique}")) if offline else []
        known = set(wandb.Settings.model_fields)  # some have come and gone with versions
        wanted = {**_SETTINGS, "x_start_time": subject.started}
        settings = wandb.Settings(**{name: value for name, value in wanted.items() if name in known})
        try:
            self._run = wandb.init(
                project=options.project,
                dir=str(folder),
                id=unique,
                name=subject.name,
                group=subject.group or None,
                job_type=subject.kind,
                tags=[tag[:64] for tag in subject.tags],
                mode="offline" if offline else "online",
                resume=None if offline else "allow",
                save_code=False,
                settings=settings,
            )
        except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
            raise Final(f"Weights & Biases: {str(error).rstrip('. ')}: {_LOGIN}") from error
        for path in before:
            shutil.rmtree(path, ignore_errors=True)
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP, step_sync=True)
        self._next = int(self._run.step)
        if offline:
            # .../offline-run-DATE-ID/files
            return Opened(unique, str(Path(self._run.dir).parent.relative_to(options.root)), 0)
        return Opened(unique, str(self._run.url), self._next)

    def describe(self, subject: Subject) -> None:
        self._run.config.update(
            {**subject.config, "dpotui/run": subject.id, "dpotui/seed": subject.seed}, allow_val_change=True
        )

    def send(self, rows: Sequence[Row]) -> None:
        for row in rows:
            values = {charted(name): value for name, value in row.values.items()}
            self._run.log({**values, STEP: row.step, "_timestamp": row.time}, step=self._next, commit=True)
            self._next += 1

    def summarize(self, summary: Summary) -> None:
        for fact in summary.facts:
            self._run.summary[f"facts/{fact.name}"] = fact.value
            if fact.low is not None and fact.high is not None:
                self._run.summary[f"facts/{fact.name}/low"] = fact.low
                self._run.summary[f"facts/{fact.name}/high"] = fact.high
        for name, verdict in summary.verdicts.items():
            self._run.summary[f"gates/{name}"] = verdict
        for artifact in summary.artifacts:
            self._run.summary[f"artifacts/{artifact['name']}"] = f"sha256:{artifact['sha256']}"
        self._run.summary["state"] = summary.state

    def close(self, state: str) -> None:
        self._run.finish(exit_code=0 if state in ("finished", "running") else 1)
