"""What a pass says and hears between two tokens: progress with speed and time left, and commands."""

from __future__ import annotations

import time

import mlx.core as mx

from core.generation.candidates_part import Part
from core.generation.candidates_plan import Pass
from core.generation.decode import Decoder
from core.training.context import Context
from core.training.obeying import obey

# Seconds between reports of progress.
_EVERY = 1.0


class Report:
    """Of the pass `one` of `every`, which answer so many `prompts` each."""

    def __init__(
        self, context: Context, one: Pass, every: list[Pass], part: Part, decoder: Decoder, prompts: int
    ) -> None:
        self._context = context
        self._part = part
        self._decoder = decoder
        self._prompts = prompts
        self._pass = one
        self._total = prompts * sum(len(other.slots) for other in every)
        self._earlier = sum(part.done(other.number) * len(other.slots) for other in every if other is not one)
        self._first = part.done(one.number)
        self._began = time.monotonic()
        self._said = (self._began, decoder.drawn, -1)

    def between(self) -> None:
        """Obey, and report when it is time.

        Raises:
            Stopped: a person asked for it, or the engine is leaving.
        """
        if obey(self._context, self._kept):
            self._said = (time.monotonic(), self._decoder.drawn, self._said[2])
        if time.monotonic() - self._said[0] >= _EVERY:
            self._say()

    def end(self) -> None:
        """Report for the last time, and say in the log what the pass was."""
        self._say()
        seconds = time.monotonic() - self._began
        decoder = self._decoder
        prompts = self._part.done(self._pass.number) - self._first
        self._context.log(
            f"{prompts} prompts answered in {seconds:.1f} s: {decoder.drawn} tokens,"
            f" {decoder.drawn / max(seconds, 1e-9):.0f} a second; {decoder.prefilled} tokens of prompts were run once,"
            f" and {decoder.shared} not again"
        )

    def _say(self) -> None:
        now, drawn = time.monotonic(), self._decoder.drawn
        then, before, step_before = self._said
        slots = len(self._pass.slots)
        done = self._part.done(self._pass.number)
        step = done * slots + self._earlier
        speed = (drawn - before) / max(now - then, 1e-9)
        overall = drawn / max(now - self._began, 1e-9)
        words = f"generating: {overall:.0f} tokens/s"
        if done > self._first:
            rate = (done - self._first) / (now - self._began)
            words += f", {_time((self._prompts - done) / rate)} left"
        self._context.progress(step, self._total, words)
        if step != step_before:
            self._context.metrics(
                step,
                {
                    "tokens_per_second": speed,
                    "responses": float(self._part.counts["responses"]),
                    "response_tokens": float(self._part.counts["tokens"]),
                    "peak_memory_gb": mx.get_peak_memory() / 1e9,
                },
            )
        self._said = (now, drawn, step)

    def _kept(self) -> str:
        return f"{self._part.counts['responses']} responses are kept"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
