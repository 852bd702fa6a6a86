"""An evaluation over several hosts: each measures its share, and the files that the parts go on from are filled here.

Then a part is done as on one machine: it finds what was measured, measures what is left, and tells what it comes to.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from core.config import EvalConfig, plan
from core.evaluation import benchmarks_part
from core.evaluation.evaluate_run import PARTS
from core.evaluation.references import against
from core.evaluation.rows import Key
from core.evaluation.session import Session
from core.experiments.spread_measures import FILES, ITEMS, STAGES
from core.experiments.spread_shares import Obeying, Spread, hosts_for
from core.experiments.spread_verdicts import VERDICT, VerdictRows, said_of
from core.store import benchmarks as results
from core.training.context import Context

Part = Callable[[Session], None]

_KEY = re.compile(r"[0-9a-f]{32}")
# Seconds between reports of progress.
_EVERY = 1.0
_KEPT = "what came back is kept"


@contextmanager
def parts(context: Context) -> Iterator[Mapping[str, Part]]:
    """What does each part of an evaluation: this machine, or first the hosts that the run's configuration names.

    Raises:
        UserError: the hosts file is wrong.
    """
    config = EvalConfig.model_validate(context.run.config)
    hosts = hosts_for(context.workspace, config)
    if hosts is None:
        yield PARTS
        return

    def log(text: str, warning: bool) -> None:
        context.log(text, "warning" if warning else "info")

    spread = Spread(hosts, context.workspace, context.db, config, log)
    over = _OverHosts(spread)
    try:
        yield {
            **PARTS,
            "benchmarks": over.benchmarks,
            **{part: over.measured(part) for part in FILES},
        }
    finally:
        spread.close()


class _OverHosts:
    """The parts that are shared out. The hosts are reached when the first of them has something for them."""

    def __init__(self, spread: Spread) -> None:
        self._spread = spread
        self._started = False

    def benchmarks(self, session: Session) -> None:
        """Whole benchmarks are dealt."""
        done = {result.name for result in results.of_run(session.context.db, session.context.run.id)}
        # What a model wrote as code is run where a person agreed to it: on this machine.
        names = [
            name
            for name, benchmark in session.config.capability_benchmarks.items()
            if name not in done and not benchmark.run_generated_code
        ]
        of = {name: benchmarks_part.kept_of(session, session.config.capability_benchmarks[name]) for name in names}

        def take(host: str, name: str, said: dict[str, Any]) -> None:
            answers = [_answer(entry) for entry in said["answers"]]
            with benchmarks_part.kept_answers(session, name, of[name]) as kept:
                new = kept.append(answers)
            session.context.log(f"{name}: {new} answers from {host}")

        if names:
            task = {"kind": "benchmarks", "config": session.config.model_dump(mode="json"), "of": of}
            obeying = Obeying(session.context, lambda: _KEPT)
            left = self._reached(session).work(task, names, lambda items: {}, take, obeying)
            if left:
                session.context.log(f"no host is left: {', '.join(left)} are answered here", "warning")
        PARTS["benchmarks"](session)

    def measured(self, part: str) -> Part:
        """Of another part the groups of items that are computed together are dealt."""

        def run(session: Session) -> None:
            for stage in STAGES[part]:
                about = _about(session, part, stage)
                if about is None or not self._measure(session, part, about):
                    break
            PARTS[part](session)

        return run

    def _measure(self, session: Session, part: str, about: dict[str, Any]) -> bool:
        """Whether all of a stage is there now."""
        computes = plan(session.config.compute)
        task = {
            "kind": "measure",
            "part": part,
            "config": session.config.model_dump(mode="json"),
            "computes": [computes.device, computes.dtype],
            **about,
        }
        obeying, counts, said = Obeying(session.context, lambda: _KEPT), Counter[str](), time.monotonic()
        with VerdictRows(session) if about["stage"] == "verdicts" else session.rows(FILES[part]) as found:

            def take(host: str, item: str, told: dict[str, Any]) -> None:
                rows = [_row(part, entry) for entry in told["rows"]]
                counts[host] += sum(key not in found for key, _ in rows)
                found.add(rows)

            def between() -> bool:
                nonlocal said
                if (pauses := obeying()) or time.monotonic() - said < _EVERY:
                    return pauses
                said = time.monotonic()
                hosts = len(self._spread.workers)
                session.say(f"{part}, {about['stage']} on {hosts} hosts: {counts.total()} are measured")
                return False

            left = self._reached(session).work(task, ITEMS, lambda items: {"known": list(found)}, take, between)
        shares = ", ".join(f"{host} {number}" for host, number in counts.items())
        session.context.log(f"{part}, {about['stage']}: {counts.total()} rows are measured ({shares or 'nobody'})")
        if left:
            session.context.log(f"no host is left: the rest of the part {part} is measured here", "warning")
        return not left

    def _reached(self, session: Session) -> Spread:
        session.release()  # one of the workers may be this machine
        if not self._started:
            session.say("reaching the hosts")
            self._spread.start()
            self._started = True
        return self._spread


def _about(session: Session, part: str, stage: str) -> dict[str, Any] | None:
    """What the workers are told of a stage of a part; None where nothing of it is measured by them."""
    if part == "perplexity" and session.config.perplexity.validation_file is None:
        return None
    if stage == "verdicts":
        return _about_judge(session)
    if part not in ("preference", "final"):
        return {"stage": stage, "reads": {}}
    what = against(session)
    if what.reference is None:
        return None
    workspace = session.context.workspace
    path = workspace.path(what.reference)
    reference = workspace.relative(path) if path.exists() else what.reference
    made = None if what.made.config is None else what.made.config.model_dump(mode="json")
    reads = session.context.inputs(str(path)) if path.exists() else {}
    return {"stage": stage, "reads": reads, "reference": reference, "made": made}


def _about_judge(session: Session) -> dict[str, Any] | None:
    """People and endpoints are asked by this machine."""
    judge = session.config.alignment_evaluation.preference_validation.judge
    if judge is None or judge.kind == "endpoint":
        return None
    rubric = () if judge.kind == "reward" else (str(session.context.workspace.path(judge.rubric_file)),)
    return {"stage": "verdicts", "reads": session.context.inputs(*rubric)}


def _answer(entry: Any) -> tuple[str, Any]:
    """A question's key and what was answered, as another machine says it.

    Raises:
        ValueError: it is none.
    """
    key, said = entry
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError("an answer to no question")
    scored = (
        isinstance(said, list)
        and len(said) == 3
        and type(said[0]) is float
        and type(said[1]) is bool
        and type(said[2]) is int
    )
    if not (scored or isinstance(said, str)):
        raise ValueError("no answer as this program writes it")
    return key, said


def _row(part: str, entry: Any) -> tuple[Key, Any]:
    """What was measured of an item, as another machine says it.

    Raises:
        ValueError: it is none.
    """
    key, value = entry
    if part == "win_rate" and key[:1] == [VERDICT]:
        said_of(key, value)
        return tuple(key), value
    of, number = key
    if not isinstance(of, str) or type(number) is not int or not _IS.get((part, of), _nothing)(value):
        raise ValueError("no row as this program writes it")
    return (of, number), value


def _nothing(value: Any) -> bool:
    return False


def _number(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_number, value))


def _counted(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _number(value[0]) and type(value[1]) is int


def _tokens(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)


def _text(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"text", "finish", "tokens"} or type(value["text"]) is not str:
        return False
    value["text"].encode()  # half characters cannot be written
    return value["finish"] in ("stop", "length") and type(value["tokens"]) is int


_IS: dict[tuple[str, str], Callable[[Any], bool]] = {
    ("perplexity", "example"): _counted,
    ("preference", "policy"): _pair,
    ("preference", "reference"): _pair,
    ("win_rate", "policy"): _text,
    ("win_rate", "baseline"): _text,
    ("final", "response"): _tokens,
    ("final", "kl"): _number,
}
