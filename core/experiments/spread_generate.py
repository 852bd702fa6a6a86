"""A run of kind `generate` over several hosts: each answers its share of the prompts, and the run's file is filled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.config import GenerateConfig
from core.data.prompts import Prompt
from core.experiments.spread_shares import Obeying, Spread, hosts_for
from core.generation import generate_run
from core.generation.candidates_part import Answer, Part
from core.generation.candidates_plan import Pass
from core.generation.generate_run import Answerer
from core.text import printable
from core.training.context import Context

# Seconds between reports of progress.
_EVERY = 1.0
_COUNTS = frozenset({"tokens", "length", "repeated", "redrawn", "repeated_out", "empty_out", "left_out"})


@contextmanager
def answerer(context: Context) -> Iterator[Answerer]:
    """What lets a model answer: this machine, or the hosts that the run's configuration names.

    Raises:
        UserError: the hosts file is wrong.
    """
    config = GenerateConfig.model_validate(context.run.config)
    hosts = hosts_for(context.workspace, config)
    if hosts is None:
        yield generate_run.answer
        return

    def log(text: str, warning: bool) -> None:
        context.log(text, "warning" if warning else "info")

    spread = Spread(hosts, context.workspace, context.db, config, log)
    try:
        yield _OverHosts(spread)
    finally:
        spread.close()


class _OverHosts:
    """Has the prompts of each pass answered by the workers; what nobody is left for is answered here."""

    def __init__(self, spread: Spread) -> None:
        self._spread = spread
        self._started = False

    def __call__(
        self,
        context: Context,
        config: GenerateConfig,
        one: Pass,
        every: list[Pass],
        path: Path,
        part: Part,
        prompts: tuple[Prompt, ...],
        device: str,
    ) -> None:
        if not self._started:
            context.progress(context.run.step, context.run.steps, "reaching the hosts")
            self._spread.start()
            self._started = True
        open_ones = [str(number) for number in range(len(prompts)) if (one.number, number) not in part]
        report = _Report(context, one, every, part, self._spread, len(prompts))
        context.progress(context.run.step, context.run.steps, f"{printable(one.model)} answers on several hosts")

        def before(items: list[str]) -> dict[str, Any]:
            return {
                "before": {
                    item: [
                        answer.text.strip()
                        for other in range(one.number)
                        if (other, int(item)) in part
                        for answer in part.answers(other, int(item))
                    ]
                    for item in items
                }
            }

        def take(host: str, item: str, said: dict[str, Any]) -> None:
            answers = [_answer(fields, one) for fields in said["responses"]]
            if len({answer.index for answer in answers}) != len(answers):
                raise ValueError("two answers in one place")
            counts = {str(name): int(count) for name, count in said["counts"].items() if name in _COUNTS}
            part.add(one.number, [(int(item), answers, counts)])

        task = {"kind": "generate", "config": config.model_dump(mode="json"), "pass": one.number}
        left = self._spread.work(task, open_ones, lambda items: before(list(items)), take, report.between)
        report.end()
        if left:
            context.log(f"no host is left: {len(left)} prompts are answered here", "warning")
            generate_run.answer(context, config, one, every, path, part, prompts, device)


def _answer(fields: dict[str, Any], one: Pass) -> Answer:
    """An answer as another machine says it.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    answer = Answer(**fields)
    slots = {slot.index: slot for slot in one.slots}
    if type(answer.index) is not int or answer.index not in slots or answer.recipe != slots[answer.index].recipe:
        raise ValueError("an answer to a place that this model has not")
    if not isinstance(answer.text, str) or type(answer.tokens) is not int or answer.finish not in ("stop", "length"):
        raise ValueError("no answer as this program writes it")
    answer.text.encode()  # half characters cannot be written
    return answer


class _Report:
    """Progress of a pass over hosts, and commands meanwhile."""

    def __init__(
        self, context: Context, one: Pass, every: list[Pass], part: Part, spread: Spread, prompts: int
    ) -> None:
        self._context, self._part, self._spread, self._pass = context, part, spread, one
        self._slots, self._prompts = len(one.slots), prompts
        self._total = prompts * sum(len(other.slots) for other in every)
        self._earlier = sum(part.done(other.number) * len(other.slots) for other in every if other is not one)
        self._first = part.done(one.number)
        self._tokens = part.counts["tokens"]
        self._began = self._said = time.monotonic()
        self._obeying = Obeying(context, lambda: f"{part.counts['responses']} responses are kept")

    def between(self) -> bool:
        """Obey, and report when it is time; True where the run is paused from now on.

        Raises:
            Stopped: a person asked for it, or the engine is leaving.
        """
        pauses = self._obeying()
        if not pauses and time.monotonic() - self._said >= _EVERY:
            self._say()
        return pauses

    def end(self) -> None:
        self._say()
        seconds = max(time.monotonic() - self._began - self._obeying.paused, 1e-9)
        tokens = self._part.counts["tokens"] - self._tokens
        shares = ", ".join(f"{worker.name} {worker.answered}" for worker in self._spread.workers.values())
        self._context.log(
            f"{self._part.done(self._pass.number) - self._first} prompts answered in {seconds:.1f} s: {tokens} tokens,"
            f" {tokens / seconds:.0f} a second over all hosts (prompts so far: {shares or 'nobody is left'})"
        )

    def _say(self) -> None:
        self._said = time.monotonic()
        seconds = max(self._said - self._began - self._obeying.paused, 1e-9)
        speed = (self._part.counts["tokens"] - self._tokens) / seconds
        done = self._part.done(self._pass.number)
        words = f"generating on {len(self._spread.workers)} hosts: {speed:.0f} tokens/s"
        if done > self._first:
            left = (self._prompts - done) * seconds / (done - self._first)
            words += f", {left:.0f} s left" if left < 90 else f", {left / 60:.0f} min left"
        step = done * self._slots + self._earlier
        self._context.progress(step, self._total, words)
        responses = float(self._part.counts["responses"])
        self._context.metrics(
            step,
            {"tokens_per_second": speed, "responses": responses, "response_tokens": float(self._part.counts["tokens"])},
        )
