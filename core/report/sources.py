"""Where the figures of a report come from: each is looked up by its key, when it is written and when it is verified."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.evaluation import retention
from core.evaluation.retention import Compared
from core.gates import GateResult
from core.report import people, rounds
from core.report.chain import Chain, chain
from core.report.clean import HIDDEN, moment, secret_key, span
from core.report.document import Figure, Key, Mood
from core.report.numbers import NOTHING, interval, number, spark
from core.report.records import Records
from core.report.success import Criterion, criteria
from core.store import Database, engines
from core.store.facts import Fact
from core.text import one_line
from core.workspace import Workspace

_SPARK = 24  # characters of a curve that is written in blocks
_DIGITS = 16  # of a hash, as it is shown

_VERDICTS: dict[str, Mood] = {"PASS": "good", "FAIL": "bad", "UNKNOWN": "warn", "STALE": "warn"}
NOT_MEASURED = "not measured"


class Gone(LookupError):
    """There is no such thing any more."""


class Sources(Records):
    """The figures of a workspace, each under its key."""

    def __init__(self, db: Database, workspace: Workspace) -> None:
        super().__init__(db, workspace)
        self._kinds: dict[str, Callable[..., Figure]] = {
            "fact": self.fact,
            "gate": self.gate,
            "tally": self.tally,
            "benchmark": self.benchmark,
            "run": self.run_figure,
            "config": self.config,
            "metric": self.metric,
            "curve": self.curve,
            "file": self.file,
            "recorded": self.recorded,
            "data": self.data,
            "item": self.item,
            "progress": self.progress,
            "criterion": self.criterion,
            "decision": self.decided,
            "environment": self.environment,
            "marks": partial(people.mark, self),
            "measured": partial(rounds.measured, self),
            "retained": self.retained,
            "since": self.since,
        }

    def resolve(self, key: Key) -> Figure | None:
        """The figure of a key as it is now; None where there is no such thing."""
        made = self._kinds.get(str(key[0])) if key else None
        if made is None:
            return None
        try:
            return made(*key[1:])
        except (LookupError, TypeError, ValueError, AttributeError, OSError, UserError, sqlite3.Error):
            # A key may come from a file that anybody wrote.
            return None

    @cached_property
    def chain(self) -> Chain:
        return chain(self)

    @cached_property
    def compared(self) -> dict[str, Compared]:
        """Each benchmark of the final model against the baseline; empty where no final model was measured."""
        found = retention.measured(self.db, self.workspace)
        return {one.name: one for one in found.compared} if found is not None else {}

    @cached_property
    def criteria(self) -> list[Criterion]:
        return criteria(self)

    # Figures, by their keys

    def fact(self, name: str, part: str = "value") -> Figure:
        key: Key = ("fact", name, part)
        fact = self.facts.get(name)
        if fact is None or fact.value is None:
            shown = NOT_MEASURED if part == "value" else NOTHING
            return Figure(key, shown, shown, mood="warn" if part == "value" else "")
        stale = self.stale(fact)
        match part:
            case "value":
                words = self.clean(_said(fact), 160)
                return Figure(key, words, f"{fact.value!r} {fact.text or ''}", stale)
            case "interval":
                shown = interval(fact.low, fact.high)
                return Figure(key, shown, f"{fact.low!r} {fact.high!r}", stale)
            case "n":
                return Figure(key, _count(fact.n), repr(fact.n), stale)
            case "run":
                return Figure(key, self.clean(fact.run or NOTHING), str(fact.run), stale)
            case "time":
                return Figure(key, moment(fact.time), repr(fact.time), stale)
        raise Gone(part)

    def gate(self, stage: int, name: str, part: str) -> Figure:
        key: Key = ("gate", stage, name, part)
        found = self.gates[stage, name]
        stale = self.clean(found.reason) if found.verdict == "STALE" else ""
        match part:
            case "verdict":
                return Figure(key, found.verdict, found.verdict, stale, _VERDICTS[found.verdict])
            case "value":
                return Figure(key, _judged(found), repr(found.value), stale)
            case "interval":
                return Figure(key, interval(found.low, found.high), f"{found.low!r} {found.high!r}", stale)
            case "n":
                return Figure(key, _count(found.n), repr(found.n), stale)
            case "target":
                return Figure(key, found.gate.target, f"{found.gate.op}{found.gate.threshold!r}")
            case "run":
                return Figure(key, self.clean(found.run or NOTHING), str(found.run), stale)
            case "time":
                return Figure(key, moment(found.time), repr(found.time), stale)
        raise Gone(part)

    def tally(self, verdict: str) -> Figure:
        """How many gates have a verdict; of "criteria", how many are met."""
        if verdict == "criteria":
            met = sum(each.met for each in self.criteria)
            whole = bool(self.criteria) and met == len(self.criteria)
            shown = f"{met} of {len(self.criteria)}"
            return Figure(("tally", verdict), shown, shown, mood="good" if whole else "warn")
        count = sum(result.verdict == verdict for result in self.gates.values())
        return Figure(("tally", verdict), str(count), str(count))

    def benchmark(self, subject: str, name: str, part: str) -> Figure:
        key: Key = ("benchmark", subject, name, part)
        found = self._results[subject].get(name)
        if found is None:
            shown = NOT_MEASURED if part == "value" else NOTHING
            return Figure(key, shown, shown, mood="warn" if part == "value" else "")
        match part:
            case "value":
                return Figure(key, number(found.value), repr(found.value))
            case "stderr":
                return Figure(key, number(found.stderr), repr(found.stderr))
            case "interval":
                return Figure(key, interval(found.low, found.high), f"{found.low!r} {found.high!r}")
            case "n":
                return Figure(key, _count(found.n), repr(found.n))
            case "chance":
                return Figure(key, number(found.chance), repr(found.chance))
            case "run":
                return Figure(key, self.clean(found.run), found.run)
        raise Gone(part)

    def run_figure(self, run_id: str, part: str) -> Figure:
        key: Key = ("run", run_id, part)
        run = self.run(run_id)
        match part:
            case "state":
                mood: Mood = "good" if run.state == "finished" else "warn"
                return Figure(key, run.state, run.state, mood=mood)
            case "who":
                return Figure(key, self.clean(run.who, 60) or "not recorded", run.who)
            case "started":
                return Figure(key, moment(run.started), repr(run.started))
            case "took":
                known = run.started is not None and run.ended is not None
                took = (run.ended or 0.0) - (run.started or 0.0)
                return Figure(key, span(took) if known else NOTHING, f"{run.started!r} {run.ended!r}")
            case "steps":
                return Figure(key, f"{run.step} of {run.steps}" if run.steps else NOTHING, f"{run.step} {run.steps}")
            case "seed":
                return Figure(key, str(run.seed), str(run.seed))
        raise Gone(part)

    def config(self, run_id: str, name: str) -> Figure:
        key: Key = ("config", run_id, name)
        flat = flattened(self.run(run_id).config)
        if name not in flat:
            return Figure(key, NOTHING, NOTHING)
        raw = json.dumps(flat[name], sort_keys=True)
        return Figure(key, self.setting(name, flat[name]), hashlib.sha256(raw.encode()).hexdigest()[:_DIGITS])

    def setting(self, name: str, value: Any) -> str:
        """A value of a configuration as it is shown."""
        if secret_key(name) and value is not None:
            return HIDDEN
        return self.clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 80)

    def metric(self, run_id: str, name: str, part: str) -> Figure:
        key: Key = ("metric", run_id, name, part)
        found = self.summary(run_id)[name]
        value = {"first": found.first, "last": found.last, "low": found.low, "high": found.high}
        if part == "points":
            return Figure(key, str(found.points), str(found.points))
        return Figure(key, number(value[part]), repr(value[part]))

    def curve(self, run_id: str, name: str, form: str) -> Figure:
        """All points of a metric: in blocks ("spark"), or as the hash of what a chart draws ("data")."""
        bins = self.bins(run_id, name)
        if not bins:
            raise Gone(name)
        exact = json.dumps([[each.first, each.last, each.low, each.high, each.mean] for each in bins])
        raw = hashlib.sha256(exact.encode()).hexdigest()[:_DIGITS]
        if form == "data":
            return Figure(("curve", run_id, name, form), raw, raw)
        wide = max(1, math.ceil(len(bins) / _SPARK))
        means = [bins[start : start + wide] for start in range(0, len(bins), wide)]
        values = [math.fsum(each.mean / len(part) for each in part) for part in means]
        return Figure(("curve", run_id, name, "spark"), spark(values), raw)

    def file(self, path: str) -> Figure:
        """The hash of a file or model folder of the workspace as it lies there now."""
        key: Key = ("file", path)
        if outside(path):
            raise Gone(path)
        digest = self.hash(path)
        if digest is None:
            return Figure(key, "not there", "not there", mood="warn")
        return Figure(key, digest[:_DIGITS], digest)

    def recorded(self, run_id: str, path: str) -> Figure:
        """The hash that a file had when a run read it."""
        digest = self.run(run_id).inputs.get(path)
        return Figure(("recorded", run_id, path), digest[:_DIGITS] if digest else NOTHING, str(digest))

    def data(self, path: str, index: int, part: str) -> Figure:
        """A file of the lineage of a data set."""
        key: Key = ("data", path, index, part)
        if outside(path):
            raise Gone(path)
        node = self.lineage(path)[index]
        match part:
            case "state":
                mood: Mood = "good" if node.state == "same" else "warn"
                return Figure(key, node.state, node.state, mood=mood)
            case "sha256":
                digest = node.recorded
                return Figure(key, digest[:_DIGITS] if digest else NOTHING, str(digest))
            case "rows":
                return Figure(key, _count(node.rows), repr(node.rows))
        raise Gone(part)

    def item(self, item_id: str, part: str, index: int = 0) -> Figure:
        """`index` is that of a blank in its text."""
        key: Key = ("item", item_id, part)
        self.items[item_id]
        state = self.states[item_id]
        stale = self.clean(state.why) if state.verdict == "STALE" else ""
        match part:
            case "state":
                shown = "done" if state.state == "done" else "open"
                return Figure(key, shown, shown, stale, "good" if shown == "done" else "")
            case "verdict":
                return Figure(
                    key, state.verdict or NOTHING, str(state.verdict), stale, _VERDICTS.get(state.verdict or "", "")
                )
            case "blank":
                value = state.values[index]
                return Figure((*key, index), self.clean(value or NOTHING, 120), repr(value), stale)
            case "value":
                shown = self.clean(", ".join(value or NOTHING for value in state.values) or state.value or NOTHING, 120)
                return Figure(key, shown, repr((state.values, state.value)), stale)
            case "by":
                return Figure(key, self.clean(state.by or NOTHING, 60), str(state.by), stale)
            case "time":
                return Figure(key, moment(state.time), repr(state.time), stale)
        raise Gone(part)

    def progress(self, root: str) -> Figure:
        """Items of a checklist that are done, of how many."""
        node = next(each for each in self.roots if each.id == root)
        found = [self.states[item.id] for item in self.leaves([node])]
        done = sum(state.state == "done" for state in found)
        return Figure(("progress", root), f"{done} of {len(found)}", f"{done} {len(found)}")

    def criterion(self, name: str, when: str = "now") -> Figure:
        """Whether a criterion is met, now or when it was decided ("then")."""
        if when == "then":
            items = self.decision.criteria.get("items", []) if self.decision else []
            said = next((bool(item["met"]) for item in items if item["name"] == name), None)
            words = {True: "met", False: "not met", None: NOTHING}[said]
            return Figure(("criterion", name, when), words, words)
        found = next((each for each in self.criteria if each.name == name), None)
        if found is None:
            raise Gone(name)
        shown = "met" if found.met else "not met"
        return Figure(("criterion", name), shown, shown, mood="good" if found.met else "bad")

    def decided(self, part: str) -> Figure:
        key: Key = ("decision", part)
        made = self.decision
        if made is None:
            return Figure(key, "no decision yet", "none", mood="warn")
        match part:
            case "choice":
                return Figure(key, made.choice, made.choice)
            case "who":
                return Figure(key, self.clean(made.who, 60), made.who)
            case "time":
                return Figure(key, moment(made.time), repr(made.time))
            case "note":
                return Figure(key, self.clean(made.note, 2000), made.note)
            case "run":
                return Figure(key, self.clean(made.run or NOTHING), str(made.run))
            case "against":
                named = ", ".join(self.clean(name, 60) for name in made.against) or NOTHING
                return Figure(key, named, repr(made.against))
        raise Gone(part)

    def environment(self, run_id: str, name: str) -> Figure:
        """What an engine recorded of the machine and versions it executed a run with."""
        run = self.run(run_id)
        found = engines.environment(self.db, run.engine) if run.engine is not None else {}
        value = found.get(name)
        return Figure(("environment", run_id, name), self.clean(value or "not recorded", 100), str(value))

    def retained(self, name: str, part: str) -> Figure:
        """What is left of one ability, in percent of the baseline's."""
        key: Key = ("retained", name, part)
        found = self.compared.get(name)
        if found is None or found.percent is None:
            return Figure(key, NOTHING, NOTHING)
        if part == "interval":
            return Figure(key, interval(found.low, found.high), f"{found.low!r} {found.high!r}")
        return Figure(key, number(found.percent, "%"), repr(found.percent), mood="bad" if found.critical else "")

    def since(self, run_id: str, path: str) -> Figure:
        """Whether a file is still what a run read."""
        key: Key = ("since", run_id, path)
        if outside(path):
            raise Gone(path)
        digest = self.hash(path)
        if digest == self.run(run_id).inputs[path]:
            return Figure(key, "same", "same", mood="good")
        shown = "not there" if digest is None else f"changed: {digest[:_DIGITS]}"
        return Figure(key, shown, str(digest), mood="warn")


def outside(path: str) -> bool:
    """Whether a path is not one of the workspace: no figure is of it, for its key would tell of this machine."""
    return Path(path).is_absolute() or ".." in Path(path).parts or path.startswith("~")


def flattened(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A configuration as `section.key` and its value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{before}{one_line(str(key), 60)}"
        if isinstance(value, Mapping) and value:
            found |= flattened(value, f"{name}.")
        else:
            found[name] = value
    return found


def _count(n: int | None) -> str:
    return NOTHING if n is None else str(n)


def _said(fact: Fact) -> str:
    """A fact in words: its number, with what its text says beside it; a yes with a text is that text."""
    assert fact.value is not None
    yes_or_no = not fact.unit and fact.n is None and fact.low is None and fact.value in (0.0, 1.0)
    if yes_or_no:
        return fact.text or ("yes" if fact.value else "no")
    shown = number(fact.value, fact.unit)
    return f"{shown} ({fact.text})" if fact.text else shown


def _judged(result: GateResult) -> str:
    """The value of a gate as other places of the report say it, with more digits where its verdict needs them."""
    if result.value is None:
        return NOTHING
    if not math.isfinite(result.value):
        return result.shown
    words = number(result.value)
    same = result.gate.meets(float(words)) == result.gate.meets(result.value)
    return words + ("%" if result.gate.unit == "%" else "") if same else result.shown
