"""What is worth a word when it happens: a run ends, a gate turns, the KL guard acts, the engine answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from dpotui.live import Snapshot

_ENDINGS = {"finished": False, "stopped": False, "failed": True, "interrupted": True}


class Notice(NamedTuple):
    words: str
    severity: Literal["information", "warning", "error"]
    bell: bool


def notices(old: Snapshot | None, new: Snapshot) -> Iterator[Notice]:
    """What happened between two pictures of the workspace."""
    if old is None:
        return
    yield from _runs(old, new)
    yield from _gates(old, new)
    yield from _guard(old, new)
    yield from _answers(old, new)


def _guard(old: Snapshot, new: Snapshot) -> Iterator[Notice]:
    if new.guard is None:
        return
    run, step, acted = new.guard
    before = old.guard[2] if old.guard is not None and old.guard[0] == run else 0
    if acted > before and old.live is not None and old.live.id == run:
        yield Notice(f"{run}: the KL guard acted at step {step}, the log says how", "warning", True)


def _runs(old: Snapshot, new: Snapshot) -> Iterator[Notice]:
    before = {run.id: run.state for run in old.runs}
    for run in new.runs:
        if run.state in _ENDINGS and before.get(run.id, run.state) not in (run.state, *_ENDINGS):
            bad = _ENDINGS[run.state]
            why = f": {run.error}" if run.error else ", r resumes it" if run.state == "interrupted" else ""
            # Of the runs that end by themselves this one waits for an answer.
            why = f": {run.hint}" if run.kind == "iterate" and run.state == "stopped" and run.hint else why
            why = f": {run.output_dir}" if run.kind == "export" and run.state == "finished" else why
            yield Notice(f"{run.id} {run.state}{why}", "error" if bad else "information", True)


def _gates(old: Snapshot, new: Snapshot) -> Iterator[Notice]:
    before = {(result.gate.stage, result.gate.name): result.verdict for result in old.gates}
    for result in new.gates:
        was = before.get((result.gate.stage, result.gate.name), result.verdict)
        if was != result.verdict:
            value = "" if result.value is None else f" {result.shown}"
            yield Notice(
                f"{result.verdict}  {result.gate.title}{value} ({result.gate.target}), was {was}",
                "warning" if result.verdict in ("FAIL", "STALE") else "information",
                True,
            )


def _answers(old: Snapshot, new: Snapshot) -> Iterator[Notice]:
    if old.watched is None or new.watched is None or old.watched.run.id != new.watched.run.id:
        return
    waiting = {command.id for command in old.watched.commands if command.obeyed is None}
    for command in new.watched.commands:
        if command.id in waiting and command.obeyed is not None:
            yield Notice(f"{command.run} {command.verb}: {command.answer}", "information", False)
