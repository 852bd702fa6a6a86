"""The benchmarks of an evaluation over several hosts: each answers some of them whole, and their answers are kept here.

Then the part is done as on one machine: it finds its questions answered, asks what is left, and tells what is right.
"""

from __future__ import annotations

import re
from typing import Any

from core.evaluation import benchmarks_part
from core.evaluation.session import Session
from core.experiments.spread_shares import Obeying, Spread, hosts_for
from core.store import benchmarks as results

_KEY = re.compile(r"[0-9a-f]{32}")


def benchmarks(session: Session) -> None:
    """The part 'benchmarks'.

    Raises:
        UserError: the hosts file is wrong, or nobody in it can take part.
    """
    hosts = hosts_for(session.context.workspace, session.config)
    if hosts is not None:
        _gather(session, Spread(hosts, session.context.workspace, session.context.db, session.config, _log(session)))
    benchmarks_part.run(session)


def _log(session: Session) -> Any:
    return lambda text, warning: session.context.log(text, "warning" if warning else "info")


def _gather(session: Session, spread: Spread) -> None:
    """Fill the files of answers."""
    config = session.config
    done = {result.name for result in results.of_run(session.context.db, session.context.run.id)}
    # What a model wrote as code is run where a person agreed to it: on this machine.
    names = [
        name
        for name, benchmark in config.capability_benchmarks.items()
        if name not in done and not benchmark.run_generated_code
    ]
    if not names:
        return
    of = {name: benchmarks_part.kept_of(session, config.capability_benchmarks[name]) for name in names}
    obeying = Obeying(session.context, lambda: "answers that came back are kept")

    def take(host: str, name: str, said: dict[str, Any]) -> None:
        answers = [_answer(entry) for entry in said["answers"]]
        with benchmarks_part.kept_answers(session, name, of[name]) as kept:
            new = kept.append(answers)
        session.context.log(f"{name}: {new} answers from {host}")

    try:
        session.say("benchmarks on several hosts")
        spread.start()
        task = {"kind": "evaluate", "config": config.model_dump(mode="json"), "of": of}
        left = spread.work(task, names, lambda items: {}, take, obeying)
    finally:
        spread.close()
    if left:
        session.context.log(f"no host is left: {', '.join(left)} are answered here", "warning")


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
