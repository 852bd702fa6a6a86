"""optimization.optimizer_config: options by optimizer as mlx-lm has them, and one clear line for each wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.config import SFTConfig, load_config
from core.config.optimizers import options
from core.errors import UserError
from core.workspace import templates


def load(tmp_path: Path, lines: str) -> SFTConfig:
    """The template with these lines instead of its optimizer."""
    text = (templates() / "sft_config.yaml").read_text()
    assert '  optimizer: "adamw"' in text
    file = tmp_path / "sft.yaml"
    file.write_text(text.replace('  optimizer: "adamw"', lines))
    return load_config(file, SFTConfig)


def test_mlx_lms_mapping_is_read(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "  optimizer: sgd\n"
        "  optimizer_config:\n"
        "    adamw: {betas: [0.9, 95e-2], eps: 1e-6}\n"
        "    sgd:\n"
        "      momentum: 0.9\n"
        "      nesterov: true\n"
        "    adam:\n",
    ).optimization
    assert found.optimizer == "sgd"
    given = found.optimizer_config
    assert given == {
        "adamw": {"betas": [0.9, 0.95], "eps": 1e-6},
        "sgd": {"momentum": 0.9, "nesterov": True},
        "adam": {},
    }
    assert options("sgd", given) == {"momentum": 0.9, "dampening": 0.0, "nesterov": True}
    assert options("adamw", given) == {"betas": [0.9, 0.95], "eps": 1e-6, "bias_correction": True}
    assert options("lion", given) == {"betas": [0.9, 0.99]}
    # What a run stores is what it reads back.
    assert type(found).model_validate(found.model_dump(mode="json")) == found


def test_on_the_command_line() -> None:
    file = templates() / "sft_config.yaml"
    found = load_config(file, SFTConfig, ["optimization.optimizer_config={adamw: {eps: 1e-4}}"])
    assert found.optimization.optimizer_config == {"adamw": {"eps": 1e-4}}


WRONG: dict[str, str] = {
    "{adamw: {betaz: [0.9, 0.99]}}": "adamw.betaz: unknown key; did you mean betas?",
    "{sgd: {warmth: 1}}": "sgd.warmth: unknown key; sgd has momentum, dampening, nesterov",
    "{adamw: {betas: [0.9]}}": "adamw.betas: must be two numbers ≥ 0 and < 1, not [0.9]",
    "{adamw: {betas: [0.9, 1.0]}}": "adamw.betas: must be two numbers ≥ 0 and < 1, not 1.0",
    "{adam: {bias_correction: 1}}": "adam.bias_correction: must be true or false, not 1",
    "{adam: {eps: true}}": "adam.eps: must be a number > 0 and ≤ 1, not true",
    "{adafactor: {beta_1: 7}}": "adafactor.beta_1: must be a number ≥ 0 and < 1 or nothing, not 7",
    "{sgd: {nesterov: true}}": "sgd.nesterov: needs a momentum and no dampening",
    "{adamw: {weight_decay: 0.1}}": "adamw.weight_decay: is optimization.weight_decay",
    "{adamw: {learning_rate: 0.1}}": "adamw.learning_rate: is training.learning_rate",
    "{adafactor: {relative_step: true}}": "adafactor.relative_step: is not offered",
    "{betas: [0.9, 0.99]}": "betas: options stand under the name of their optimizer: optimizer_config: {adamw: ",
    "{adam_w: {}}": "adam_w: unknown optimizer; did you mean adamw?",
    "{7: {}}": "7: unknown optimizer; known: adamw, adam, sgd, muon",
    "{adamw: 3}": "adamw: must be a mapping of betas, eps, bias_correction",
    '{adamw: {"\\e[31m": 1}}': "adamw.␛[31m: unknown key; adamw has betas, eps, bias_correction",
}


@pytest.mark.parametrize("given", list(WRONG))
def test_a_wrong_option_is_one_line_with_its_number(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError) as refused:
        load(tmp_path, f'  optimizer: "adamw"\n  optimizer_config: {given}')
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    lines = (tmp_path / "sft.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.startswith("  optimizer_config: "))
    assert f"sft.yaml:{line}: optimization.optimizer_config.{WRONG[given]}" in message


@pytest.mark.parametrize("given", [3, "text", [1]])
def test_no_mapping(tmp_path: Path, given: Any) -> None:
    with pytest.raises(UserError, match=r"optimization\.optimizer_config: must be a mapping, not"):
        load(tmp_path, f'  optimizer: "adamw"\n  optimizer_config: {given}')


def test_every_wrong_option_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        load(tmp_path, "  optimizer: adamv\n  optimizer_config:\n    adam:\n      eps: 0\n      beta: 1\n    sgd: 1")
    assert [line.split(":", 2)[2].split(":")[0].strip() for line in str(refused.value).splitlines()] == [
        "optimization.optimizer",
        "optimization.optimizer_config.adam.eps",
        "optimization.optimizer_config.adam.beta",
        "optimization.optimizer_config.sgd",
    ]
