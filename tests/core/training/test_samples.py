"""What a run writes to validation prompts on the way: the model's own words at those weights, once a step, at no cost
to training."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from core.config import load_config
from core.config.dpo import DPOConfig
from core.config.models import SFTConfig
from core.engine.client import submit
from core.errors import UserError
from core.generation.candidates_pass import response_text
from core.generation.sampling import sample
from core.models.load import load
from core.store import Database, commands, log, metrics, runs, samples
from core.store.writer import Writer
from core.training import checkpoints, dpo_run, sft_run
from core.training import samples as module
from core.training.context import Context
from core.training.control import Stopped
from core.training.samples import Asked, Sampler, prompts_of, shown_as
from core.workspace import Workspace
from tests.core.training import tiny
from tests.core.training.test_resume import digest, execute

Made = tuple[Workspace, Database]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return tiny.workspace(tmp_path / "w")


def config_of(kind: str = "dpo", **changes: object) -> DPOConfig | SFTConfig:
    """With as many samples as a run takes by default, of a few tokens."""
    changes = {"training_sample_prompts": 4, "training_sample_max_tokens": 16} | changes
    return tiny.dpo_config(**changes) if kind == "dpo" else tiny.sft_config(**changes)


def finished(made: Made, kind: str = "dpo", **changes: object) -> runs.Run:
    space, db = made
    config = config_of(kind, **changes)
    run = submit(space, db, kind, config)
    execute(space, db, run.id, dpo_run.run if kind == "dpo" else sft_run.run, None)
    return runs.get(db, run.id)


def alone(folder: Path, asked: str, tokens: int, base: Path | None = None) -> tuple[str, str, int]:
    """What core generation gives for one prompt, with weights read from a folder."""
    loaded = load(folder)
    ids = list(loaded.tokenizer.encode(asked))
    (found,) = sample(loaded.model, loaded.tokenizer, [ids], max_tokens=tokens, temperature=0, seed=1)
    (response,) = found.responses
    finish = "stop" if response[-1] in loaded.tokenizer.eos_token_ids else "length"
    return response_text(loaded.tokenizer, ids, response, finish), finish, len(response)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_samples_are_what_generation_gives_with_the_same_weights(made: Made, adapter: str) -> None:
    space, db = made
    run = finished(
        made, adapter_type=adapter, training_eval_steps=6, training_save_steps=6, training_sample_prompts=3,
        training_sample_max_tokens=9, training_learning_rate=5e-3, constraints_kl_target=1e-9,
    )  # fmt: skip
    assert samples.steps(db, run.id) == [0, 6, 12]
    lines = [json.loads(line)["prompt"] for line in (space.data / "pairs_val.jsonl").read_text().splitlines()]
    output = space.path(run.output_dir)
    for step, folder in ((0, space.root / "models/tiny"), (6, output / "checkpoint-6"), (12, output / "checkpoint-12")):
        found = samples.at(db, run.id, step)
        assert [(s.line, s.prompt) for s in found] == list(enumerate(lines[:3], 1))
        assert [(s.text, s.finish, s.tokens) for s in found] == [alone(folder, text, 9) for text in lines[:3]]
    theirs = samples.reference(db, run.id)
    assert [s.text for s in theirs] == [s.text for s in samples.at(db, run.id, 0)]
    assert [s.text for s in theirs] != [s.text for s in samples.at(db, run.id, 12)]
    assert {(s.model, s.step) for s in theirs} == {("reference", 0)}


def test_sft_is_held_against_the_model_before_training(made: Made) -> None:
    space, db = made
    run = finished(made, "sft", training_learning_rate=1e-2, training_eval_steps=12, training_sample_max_tokens=64)
    assert samples.steps(db, run.id) == [0, 12]
    prompts = [json.loads(line)["prompt"] for line in (space.data / "sft_val.jsonl").read_text().splitlines()]
    theirs = samples.reference(db, run.id)
    assert [s.text for s in theirs] == [alone(space.root / "models/tiny", text, 64)[0] for text in prompts[:4]]
    assert [s.text for s in samples.at(db, run.id, 12)] != [s.text for s in theirs]


def test_they_are_no_part_of_training(made: Made) -> None:
    """With dropout, which draws from the random state: the same weights with samples and without."""
    space, db = made
    with_them, without = finished(made), finished(made, training_sample_prompts=0)
    a, b = (space.path(run.output_dir) / "checkpoint-12" for run in (with_them, without))
    assert digest(a / checkpoints.WEIGHTS) == digest(b / checkpoints.WEIGHTS)
    assert (a / checkpoints.STATE).read_text().split('"random"')[1] == (
        (b / checkpoints.STATE).read_text().split('"random"')[1]
    )
    assert samples.steps(db, with_them.id) == [0, 4, 8, 12]
    assert samples.steps(db, without.id) == []
    assert samples.reference(db, without.id) == []
    said = [line.text for line in log.lines(db, with_them.id) if "samples" in line.text]
    assert len(said) == 4
    assert said[0].startswith("step 0  samples of 4 prompts and of the reference: ")
    assert said[1].startswith("step 4  samples of 4 prompts: ")
    assert all(line.endswith(" s") for line in said)
    assert not any("samples" in line.text for line in log.lines(db, without.id))


def test_with_recomputed_activations_they_are_the_same(made: Made) -> None:
    _, db = made
    plain, recomputed = finished(made), finished(made, compute_gradient_checkpointing=True)
    for step in (0, 12):
        assert [s.text for s in samples.at(db, plain.id, step)] == [s.text for s in samples.at(db, recomputed.id, step)]


def test_a_resumed_run_does_not_ask_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    space, db = made
    whole = finished(made)
    run = submit(space, db, "dpo", config_of())
    calls: list[tuple[str, int]] = []
    answers = Sampler._answers

    def counted(self: Sampler, model: samples.Model, step: int) -> list[samples.Sample] | None:
        calls.append((model, step))
        return answers(self, model, step)

    monkeypatch.setattr(Sampler, "_answers", counted)
    with pytest.raises(Stopped):
        execute(space, db, run.id, dpo_run.run, 8)
    execute(space, db, run.id, dpo_run.run, None)
    assert calls == [("policy", 0), ("reference", 0), ("policy", 4), ("policy", 8), ("policy", 12)]
    for step in (0, 4, 8, 12):
        mine, theirs = (samples.at(db, each.id, step) for each in (run, whole))
        assert [s[1:8] for s in mine] == [s[1:8] for s in theirs]


def test_an_interrupted_evaluation_leaves_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine leaves in the middle of the answers: neither samples nor metrics of that step."""
    space, db = made
    run = submit(space, db, "dpo", config_of())
    step_of = module.Decoder.step
    seen = 0

    def leaving(self: module.Decoder) -> list[module.Job]:
        nonlocal seen
        seen += 1
        if seen == 3:
            runs.update(db, run.id, state="running")
            commands.send(db, run.id, "stop", "ana")
            context.control._next_look = 0.0
        return step_of(self)

    monkeypatch.setattr(module.Decoder, "step", leaving)
    writer = Writer(space.database)
    context = Context(space, db, runs.get(db, run.id), writer, threading.Event())
    with pytest.raises(Stopped):
        dpo_run.run(context)
    writer.close()
    assert samples.steps(db, run.id) == []
    assert samples.reference(db, run.id) == []
    assert metrics.names(db, run.id) == []
    monkeypatch.undo()
    runs.update(db, run.id, state="queued")
    execute(space, db, run.id, dpo_run.run, None)
    assert samples.steps(db, run.id) == [0, 4, 8, 12]
    assert len(samples.reference(db, run.id)) == 4


def test_a_model_that_lost_its_numbers_ends_no_run_by_its_samples(made: Made) -> None:
    space, db = made
    run = submit(space, db, "dpo", config_of())
    loaded = load(space.root / "models/tiny")
    name, weight = next((n, w) for n, w in tree_flatten(loaded.model.parameters()) if "norm" in n)
    loaded.model.load_weights([(name, mx.full(weight.shape, float("nan")))], strict=False)
    writer = Writer(space.database)
    context = Context(space, db, runs.get(db, run.id), writer, threading.Event())
    assert Sampler(context, loaded, [Asked(1, [3, 4], "x", True)], 4, None)(3)
    writer.close()
    assert samples.steps(db, run.id) == []
    assert log.lines(db, run.id)[-1].text == "step 3  no samples: the model gives no numbers (NaN)"


# Which prompts


def ask(made: Made, rows: list[object], **changes: object) -> list[Asked]:
    space, _ = made
    path = space.data / "asked.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    count = int(changes.pop("count", 3))
    config = config_of(**changes)
    return prompts_of(path, config, load(space.root / "models/tiny"), count)


def test_the_first_different_prompts_that_can_be_read_are_asked(made: Made) -> None:
    pair = {"chosen": "yes", "rejected": "no"}
    rows = [
        "{broken", {"prompt": "Say red. ", **pair}, {"prompt": "Say red. ", "chosen": "a", "rejected": "b"},
        {"prompt": "Say blue. ", **pair}, {"prompt": 3, **pair}, {"prompt": "Say round. ", **pair},
        {"prompt": "Say warm. ", **pair},
    ]  # fmt: skip
    found = ask(made, rows)
    assert [(a.line, a.shown) for a in found] == [(2, "Say red. "), (4, "Say blue. "), (6, "Say round. ")]
    assert ask(made, rows) == found
    assert ask(made, rows, count=0) == []
    assert len(ask(made, rows, count=64)) == 4


def test_a_prompt_is_cut_as_training_cuts_it_and_shown_so(made: Made) -> None:
    (found,) = ask(made, [{"prompt": "Say red green blue. ", "chosen": "a", "rejected": "b"}], data_max_prompt_length=4)
    assert len(found.ids) == 4
    assert found.shown.startswith("… ")
    assert found.shown != "… Say red green blue. "


def test_a_chat_is_shown_turn_by_turn() -> None:
    one = [{"role": "user", "content": "Hello"}]
    more = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    assert shown_as("as it is ") == "as it is "
    assert shown_as(one) == "Hello"
    assert shown_as(more) == "system: Be kind.\n\nuser: Hello"


@pytest.mark.parametrize(("key", "value"), [("sample_prompts", 65), ("sample_prompts", -1), ("sample_max_tokens", 0)])
def test_numbers_out_of_bounds_are_refused(made: Made, key: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"training\.{key}"):
        load_config(made[0].configs / "dpo_config.yaml", DPOConfig, [f"training.{key}={value}"])
