"""Candidates of some prompts, written on another host by the same code: what a pass of a run asks of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import mlx.core as mx

from core.config import GenerateConfig, plan
from core.data.prompts import Prompt, load_prompts
from core.errors import UserError
from core.generation.candidates_part import Answer, Part
from core.generation.candidates_pass import Answering
from core.generation.candidates_plan import Pass, passes
from core.generation.decode import Decoder
from core.generation.draw import NotNumbers
from core.generation.generate_run import settle
from core.models.device import DTYPES, use_device
from core.models.limits import limits
from core.models.load import LanguageModel, load, resolve
from core.workspace import Workspace

Say = Callable[[dict[str, Any]], None]


class Share(Part):
    """Instead of a run's file: which prompts are this worker's, and what other passes gave them before."""

    def __init__(self, one: Pass, mine: set[int], before: Mapping[str, list[str]], say: Callable[..., None]) -> None:
        self._pass, self._mine, self._before, self._say = one, mine, before, say

    def __contains__(self, key: tuple[int, int]) -> bool:
        number, prompt = key
        if number == self._pass.number:
            return prompt not in self._mine
        # All that other passes gave stands for one of them.
        return number == 0 and str(prompt) in self._before

    def answers(self, number: int, prompt: int) -> list[Answer]:
        return [Answer(0, "", text, "", 0) for text in self._before[str(prompt)]]

    def add(self, number: int, finished: list[tuple[int, list[Answer], dict[str, int]]]) -> None:
        for prompt, answers, counts in finished:
            self._mine.discard(prompt)
            self._say(str(prompt), {"responses": [asdict(one) for one in answers], "counts": counts})


class _Loaded:
    """The model of the pass that was worked at last: further items of it need no loading."""

    key: tuple[str, str] | None = None
    model: LanguageModel | None = None
    how: dict[str, Any] | None = None


_last = _Loaded()


def answer(
    workspace: Workspace,
    task: Mapping[str, Any],
    message: Mapping[str, Any],
    say: Callable[[str, dict[str, Any]], None],
    between: Callable[[], None],
    note: Say,
) -> None:
    """Answer the prompts of these numbers."""
    config = GenerateConfig.model_validate(task["config"])
    one = passes(config)[task["pass"]]
    planned = plan(config.compute)
    use_device(planned)
    with limits(config.compute.environment, planned.device):
        prompts = load_prompts(workspace.path(config.data.prompts_file), config.data.limit, 0).prompts
        loaded, how = _model(workspace, config, one, prompts, planned.device, note)
        decoder = Decoder(loaded.model, set(loaded.tokenizer.eos_token_ids), size=how["rows"], way=how["way"])
        share = Share(one, set(map(int, message["items"])), message["before"], say)

        def leave_out(prompt: Prompt, why: str) -> None:
            note({"note": f"left out: {config.data.prompts_file}:{prompt.line}: {why}", "warning": True})

        try:
            Answering(config, one, loaded, decoder, share, prompts, leave_out).work(between)
        except NotNumbers:
            raise UserError(
                f"{one.model} gives no numbers (NaN) here, in {planned.dtype}: try compute.dtype: float32"
            ) from None


def _model(
    workspace: Workspace, config: GenerateConfig, one: Pass, prompts: tuple[Prompt, ...], device: str, note: Say
) -> tuple[LanguageModel, dict[str, Any]]:
    path = resolve(workspace, one.model)
    key = (str(path), config.model_dump_json())
    if _last.key != key or _last.model is None or _last.how is None:
        _last.key = _last.model = _last.how = None
        mx.clear_cache()
        trust = config.model.trust_remote_code
        model = load(path, dtype=DTYPES[plan(config.compute).dtype], trust_remote_code=trust, fused=None)
        how = settle(config, one, model, prompts, device, lambda text, level="info": note(_note(text, level)))
        _last.key, _last.model, _last.how = key, model, how
    return _last.model, _last.how


def _note(text: str, level: str) -> dict[str, Any]:
    return {"note": text, "warning": level == "warning"}
