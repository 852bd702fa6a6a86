"""Configurations: what is read, what is refused and in which words, what a machine makes of them."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.config import (
    CONFIGS,
    DPOConfig,
    Platform,
    RewardConfig,
    SFTConfig,
    answers,
    keys,
    load_config,
    missing_files,
    plan,
)
from core.errors import UserError
from core.text import printable
from core.workspace import Workspace, templates

# As the workflow's page has it.
SPEC = """\
# dpo_config.yaml
model:
  base_model: "meta-llama/Llama-2-7b-hf"  # Path or HF model ID
  reference_model: "checkpoints/sft_baseline"  # Frozen reference
  policy_model: "checkpoints/sft_baseline"  # Initialized from reference

data:
  train_file: "data/preference_pairs_train.jsonl"
  validation_file: "data/preference_pairs_val.jsonl"
  max_prompt_length: 512
  max_response_length: 1024

training:
  learning_rate: 1.0e-6  # Conservative for stability
  beta: 0.1  # KL penalty strength (higher = closer to reference)
  batch_size: 4  # Per device
  gradient_accumulation_steps: 4  # Effective batch = 16
  max_steps: 1000
  warmup_steps: 100
  logging_steps: 10
  eval_steps: 100
  save_steps: 100

optimization:
  optimizer: "adamw"
  weight_decay: 0.01
  max_grad_norm: 1.0
  lr_scheduler: "cosine"

constraints:
  kl_target: 0.1  # Maximum KL divergence
  preference_gap_target: 0.15  # Minimum preference gap

compute:
  fp16: true  # Mixed precision training
  device: "cuda"
  num_devices: 8
  gradient_checkpointing: true  # Memory optimization

logging:
  wandb_project: "dpo-alignment"
  wandb_run_name: "dpo-exp-001"
  output_dir: "outputs/dpo-exp-001"
"""

MAC = Platform("macos", "metal")
LINUX = Platform("linux", None)
NVIDIA = Platform("linux", "cuda")


def line_of(text: str, start: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith(start))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dpo.yaml"
    path.write_text(SPEC)
    return path


def refused(path: Path, text: str | bytes | None = None, overrides: tuple[str, ...] = ()) -> list[str]:
    """The error lines, without the folder."""
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        load_config(path, DPOConfig, overrides)
    return str(error.value).replace(f"{path.parent}/", "").splitlines()


# What is read


def test_the_workflows_own_file_is_read_as_it_stands(file: Path) -> None:
    config = load_config(file, DPOConfig)
    given_keys = yaml.safe_load(SPEC)
    for section, values in given_keys.items():
        for key, value in values.items():
            assert getattr(getattr(config, section), key) == value
    assert config.training.learning_rate == 1e-6
    assert config.training.loss_type == "sigmoid"
    assert config.adapter.type == "lora"


@pytest.mark.parametrize("name", list(CONFIGS))
def test_templates_are_valid_and_name_every_key(name: str) -> None:
    path, kind = templates() / f"{name}_config.yaml", CONFIGS[name]
    load_config(path, kind)
    text = path.read_text()
    # A key whose default is "none" can be left out.
    for key in keys(kind):
        leaf = key.path.rsplit(".", 1)[1]
        assert f"{leaf}:" in text or key.default in (None, False), key.path


def test_the_template_keeps_the_thresholds_of_the_workflow() -> None:
    template = yaml.safe_load((templates() / "dpo_config.yaml").read_text())
    spec = yaml.safe_load(SPEC)
    assert template["constraints"] == spec["constraints"]
    for section, values in spec.items():
        assert set(values) <= set(template[section])


def test_every_key_says_what_it_means_and_allows() -> None:
    for kind in CONFIGS.values():
        for key in keys(kind):
            assert len(key.meaning) > 10, key.path
            assert key.allowed, key.path
    steps = next(key for key in keys(DPOConfig) if key.path == "training.max_steps")
    assert (steps.unit, steps.required) == ("steps", True)
    assert next(key for key in keys(DPOConfig) if key.path == "optimization.lr_scheduler").allowed == (
        "one of cosine, linear, constant"
    )


def test_what_a_run_stores_reads_back_the_same(file: Path) -> None:
    config = load_config(file, DPOConfig, ["adapter.keys=[self_attn.q_proj]", "adapter.scale=20"])
    assert DPOConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-7", 1e-7), ("1E-7", 1e-7), ('"1e-7"', 1e-7), ("1.0e-6", 1e-6), (".5", 0.5), ("1", 1.0), ("5e-1", 0.5)],
)
def test_numbers_that_yaml_takes_for_text_are_numbers(file: Path, text: str, value: float) -> None:
    file.write_text(SPEC.replace("learning_rate: 1.0e-6", f"learning_rate: {text}"))
    assert load_config(file, DPOConfig).training.learning_rate == value


@pytest.mark.parametrize("text", ["1e3", "1000.0", '"1000"', "1_000"])
def test_whole_numbers_may_be_written_in_other_ways(file: Path, text: str) -> None:
    file.write_text(SPEC.replace("max_steps: 1000", f"max_steps: {text}"))
    assert load_config(file, DPOConfig).training.max_steps == 1000


def test_alpha_and_rank_make_the_multiplier_and_scale_takes_their_place(file: Path) -> None:
    assert load_config(file, DPOConfig, ["adapter.alpha=32", "adapter.rank=16"]).adapter.multiplier == 2.0
    assert load_config(file, DPOConfig, ["adapter.alpha=32", "adapter.scale=20"]).adapter.multiplier == 20.0


@given(
    learning_rate=st.floats(1e-12, 1.0),
    beta=st.floats(1e-6, 100),
    steps=st.integers(101, 10**9),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_number_within_bounds_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, learning_rate: float, beta: float, steps: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("config") / "dpo.yaml"
    value = yaml.safe_load(SPEC)
    value["training"] |= {"learning_rate": learning_rate, "beta": beta, "max_steps": steps, "seed": seed}
    path.write_text(yaml.safe_dump(value))
    training = load_config(path, DPOConfig).training
    assert (training.learning_rate, training.beta) == (learning_rate, beta)
    assert (training.max_steps, training.seed) == (steps, seed)


# What is refused


def test_an_unknown_key_names_file_line_and_the_key_meant(file: Path) -> None:
    text = SPEC.replace("  beta: 0.1", "  betta: 0.1")
    assert refused(file, text) == [
        f"dpo.yaml:{line_of(text, 'betta')}: training.betta: unknown key; did you mean training.beta?"
    ]


@pytest.mark.parametrize(
    ("line", "key", "meant"),
    [
        ("beta: 0.1", "beta", "training.beta"),
        ("logging:\n  learning_rate: 1", "logging.learning_rate", "training.learning_rate"),
        ("optimisation: {}", "optimisation", "optimization"),
    ],
)
def test_a_key_in_the_wrong_place_names_the_right_one(file: Path, line: str, key: str, meant: str) -> None:
    text = SPEC.replace("logging:\n", line + "\n") if line.startswith("logging") else SPEC + line
    assert any(f"{key}: unknown key; did you mean {meant}?" in found for found in refused(file, text))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch_size: 4", "batch_size: four", "must be a whole number from 1 to 65536, or auto, not 'four'"),
        ("batch_size: 4", "batch_size: 0", "must be a whole number from 1 to 65536, or auto, not 0"),
        ("batch_size: 4", "batch_size: 1.5", "must be a whole number from 1 to 65536, or auto, not 1.5"),
        ("batch_size: 4", "batch_size: true", "must be a whole number from 1 to 65536, or auto, not true"),
        ("batch_size: 4", "batch_size: [4]", "must be a whole number from 1 to 65536, or auto, not a list"),
        ("batch_size: 4", "batch_size:", "must be a whole number from 1 to 65536, or auto, not nothing"),
        ("beta: 0.1", "beta: -0.1", "must be a number > 0 and ≤ 100, not -0.1"),
        ("beta: 0.1", "beta: yes", "must be a number > 0 and ≤ 100, not true"),
        ("beta: 0.1", "beta: .nan", "must be a number > 0 and ≤ 100, not nan"),
        ("beta: 0.1", "beta: .inf", "must be a number > 0 and ≤ 100, not inf"),
        ("device: \"cuda\"", "device: tpu", "must be one of auto, gpu, mps, cuda, cpu, not 'tpu'"),
        ("fp16: true", "fp16: 1", "must be true or false, not 1"),
        ("wandb_run_name: \"dpo-exp-001\"", "wandb_run_name: 7", "not 7: put it in quotes"),
        ("output_dir: \"outputs/dpo-exp-001\"", "output_dir: \"\"", "must be text on one line, not ''"),
        ("output_dir: \"outputs/dpo-exp-001\"", "output_dir: \"a\\nb\"", "must be text on one line"),
        ("output_dir: \"outputs/dpo-exp-001\"", "output_dir: \"a\\e[2J\"", "must be text on one line, not 'a␛[2J'"),
    ],
)  # fmt: skip
def test_a_wrong_value_says_what_is_allowed(file: Path, old: str, new: str, words: str) -> None:
    text = SPEC.replace(f"  {old}", f"  {new}")
    assert text != SPEC
    (line,) = refused(file, text)
    assert line.startswith(f"dpo.yaml:{line_of(text, new)}: ")
    assert words in line


def test_all_errors_of_a_file_come_at_once_in_its_order(file: Path) -> None:
    text = (
        SPEC.replace("beta: 0.1", "beta: 0")
        .replace("kl_target: 0.1", "kl_target: low")
        .replace("  train_file", "  trian_file")
        .replace('  output_dir: "outputs/dpo-exp-001"\n', "")
    )
    lines = refused(file, text)
    assert [line.split(": ")[1] for line in lines] == [
        "data.trian_file",
        "training.beta",
        "constraints.kl_target",
        "logging.output_dir",
    ]
    numbers = [int(line.split(":")[1]) for line in lines]
    assert numbers == sorted(numbers)


def test_a_missing_section_says_what_it_holds(file: Path) -> None:
    text = SPEC.split("constraints:")[0] + "compute:" + SPEC.split("compute:")[1]
    (line,) = refused(file, text)
    assert line == "dpo.yaml:1: constraints: this section is missing: it holds kl_target, preference_gap_target"


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        ("training.warmup_steps=1000", "training.warmup_steps", "must be less than max_steps (1000)"),
        ("training.loss_type=ipo", "training.label_smoothing", "acts only in cdpo, robust, exo_pair"),
        ("data.validation_file=data/preference_pairs_train.jsonl", "data.validation_file", "is the training file"),
        ("logging.output_dir=checkpoints/sft_baseline/", "logging.output_dir", "the folder of model.reference_model"),
        ("adapter.num_layers=0", "adapter.num_layers", "would train nothing"),
        ("adapter.keys=[]", "adapter.keys", "would train nothing"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(file: Path, override: str, key: str, words: str) -> None:
    smoothed = SPEC.replace("  beta: 0.1", "  label_smoothing: 0.1\n  loss_type: cdpo\n  beta: 0.1")
    (line,) = refused(file, smoothed, (override,))
    assert f"{key}: " in line
    assert words in line


@pytest.mark.parametrize("loss_type", ["cdpo", "robust", "exo_pair", "aot", "aot_unpaired", "[sigmoid, cdpo]"])
def test_label_smoothing_goes_with(file: Path, loss_type: str) -> None:
    overrides = ["training.label_smoothing=0.1", f"training.loss_type={loss_type}"]
    assert load_config(file, DPOConfig, overrides).training.label_smoothing == 0.1


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["label_smoothing=0.1"], "label_smoothing", "for conservative DPO set loss_type: cdpo"),
        (["label_smoothing=0.1", "loss_type=ipo"], "label_smoothing", "set it to 0 with ipo"),
        (["loss_type=exo_pair"], "label_smoothing", "exo_pair needs it above 0"),
        (["loss_type=dpo"], "loss_type", "must be one of sigmoid, cdpo, robust"),
        (["loss_type=[sigmoid, dpo]"], "loss_type.1", "not 'dpo'"),
        (["loss_type=[sigmoid, 3]"], "loss_type.1", "not '3'"),
        (["loss_type=[]"], "loss_type.0", "an empty list"),
        (["loss_type=[sft, sft]"], "loss_type.1", "stands twice"),
        (["loss_weights=[1, 2]"], "loss_weights", "give one for each of sigmoid"),
        (["loss_type=[sigmoid, sft]", "loss_weights=[0, 0]"], "loss_weights", "would train nothing"),
        (["loss_type=[sigmoid, sft]", "loss_weights=[1, -1]"], "loss_weights.1", "greater than or equal to 0"),
        (["f_divergence_type=forward_kl", "loss_type=bco_pair"], "f_divergence_type", "no meaning in bco_pair"),
        (["f_alpha_divergence_coef=0.3"], "f_alpha_divergence_coef", "acts only with f_divergence_type"),
        (["discopop_tau=0.1"], "discopop_tau", "acts only with loss_type: discopop"),
        (["loss_type=aot", "use_weighting=true"], "use_weighting", "aot sorts them apart"),
        (["ld_alpha=1.5"], "ld_alpha", "must be a number from 0 to 1 or nothing"),
        (["beta_schedule=linear"], "beta_end", "set beta_end"),
        (["beta_end=0.5"], "beta_schedule", "set linear or cosine"),
    ],
)
def test_options_of_the_losses_that_do_not_go_together(file: Path, overrides: list[str], key: str, words: str) -> None:
    (line,) = refused(file, SPEC, tuple(f"training.{override}" for override in overrides))
    assert f"training.{key}: " in line
    assert words in line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("action=explode", "must be one of none, halve_learning_rate, raise_beta, rollback, stop"),
        ("beta_factor=1", "must be a number > 1 and ≤ 100"),
        ("patience=0", "must be a whole number from 1"),
        ("max_actions=1000", "must be a whole number from 1 to 100"),
        ("kl_limit=0", "must be a number > 0"),
    ],
)
def test_what_the_guard_takes(file: Path, override: str, words: str) -> None:
    assert load_config(file, DPOConfig).kl_guard.action == "none"
    assert load_config(file, DPOConfig, ["kl_guard.action=off"]).kl_guard.action == "none"
    (line,) = refused(file, SPEC, (f"kl_guard.{override}",))
    assert words in line


def test_a_list_of_losses_stays_what_it_is(file: Path) -> None:
    both = ["training.loss_type=[sigmoid, sft]", "training.loss_weights=[1.0, 0.5]"]
    config = load_config(file, DPOConfig, both)
    assert config.training.loss_type == ["sigmoid", "sft"]
    assert config.training.loss_types == ("sigmoid", "sft")
    assert DPOConfig.model_validate(config.model_dump(mode="json")) == config
    assert load_config(file, DPOConfig).training.loss_types == ("sigmoid",)


def test_sft_does_not_overwrite_its_base_model() -> None:
    with pytest.raises(UserError, match=r"model\.checkpoint: is the base model's own folder"):
        load_config(templates() / "sft_config.yaml", SFTConfig, ["model.checkpoint=models/base/"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.checkpoint=checkpoints/sft_baseline/", "model.checkpoint: is the base model's own folder"),
        ("logging.output_dir=checkpoints/reward_model", "logging.output_dir: is the folder of model.checkpoint"),
        ("training.margin=length", "training.margin: must be one of field, scores, none, not 'length'"),
        ("training.center_rewards_coefficient=-0.1", "must be a number from 0 to 100, not -0.1"),
        ("training.beta=0.1", "unknown key"),
    ],
)
def test_what_a_reward_model_is_not_trained_with(override: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        load_config(templates() / "reward_config.yaml", RewardConfig, [override])


# Files that are no configuration


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "is empty"),
        ("# only a comment\n", None, "is empty"),
        ("- a\n- b\n", 1, "sections with keys are expected, not a list"),
        ("just text", 1, "sections with keys are expected, not 'just text'"),
        ("a: 1\n\tb: 2\n", 2, "a tab stands where YAML wants spaces"),
        ("a: 1\nb: [1, 2\n", 3, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: 1\nb: {c: 1, c: 2}\n", 2, "b.c is given twice, first on line 2"),
        ("a: 1\n\nb: 2\na: 3\n", 4, "a is given twice, first on line 1"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, None),
        ("a: !thing x\n", 1, "a tag (!...) stands here"),
        ("a: &x [*x]\n", 1, "nested deeper than 32 levels"),
        ("base: &b {c: 1}\na:\n  <<: *b\n", 3, "merge keys (<<) are not read"),
        ("[1, 2]: 3\n", 1, "a key must be a word"),
        ("a: 1\nb: \x07\n", 2, "a control character"),
        ("[" * 3000, 1, "nested too deep"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8 text (byte 0xff)"),
    ],
)
def test_what_is_no_yaml_mapping_is_one_line_with_its_number(
    file: Path, text: str | bytes, line: int | None, words: str | None
) -> None:
    found = refused(file, text)
    if words is None:  # plain data is read, and then the keys are judged; nothing is run
        assert all("unknown key" in problem or "missing" in problem for problem in found)
        return
    (problem,) = found
    assert words in problem
    assert problem.startswith("dpo.yaml:" + (f"{line}: " if line else "") if line else "dpo.yaml ")


def test_a_bomb_of_aliases_is_refused_before_it_unfolds(file: Path) -> None:
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)]
    (line,) = refused(file, "\n".join(rows))
    assert "more than 20000 values" in line


def test_a_huge_file_is_refused_unread(file: Path) -> None:
    (line,) = refused(file, "# " + "x" * 300_000)
    assert "too many for a configuration" in line


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml") == ["none.yaml does not exist: name a YAML file"]
    assert "is a folder" in refused(tmp_path)[0]
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == ["pipe is not a regular file: name a YAML file"]


def test_bom_and_crlf_are_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + SPEC.replace("\n", "\r\n").encode())
    assert load_config(file, DPOConfig).training.beta == 0.1


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_any_bytes_are_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.mktemp("config") / "any.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError) as error:
        load_config(path, DPOConfig)
    assert str(error.value) == printable(str(error.value))


@given(st.integers(0, len(SPEC)), st.text(alphabet=st.sampled_from(list("ab:-[]{}&*!|>'\"%@`#,? \t\n0.")), max_size=6))
def test_a_damaged_file_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, at: int, damage: str
) -> None:
    path = tmp_path_factory.mktemp("config") / "damaged.yaml"
    path.write_text(SPEC[:at] + damage + SPEC[at:])
    try:
        config = load_config(path, DPOConfig)
    except UserError as error:
        assert str(error)
    else:
        assert DPOConfig.model_validate(config.model_dump(mode="json")) == config


# --set


def test_an_override_wins_and_the_last_one_counts(file: Path) -> None:
    config = load_config(
        file,
        DPOConfig,
        [
            "training.beta=0.2",
            "training.beta=0.3",
            "training.learning_rate=1e-7",
            "compute.fp16=false",
            "training.seed=7",
        ],
    )
    assert (config.training.beta, config.training.learning_rate) == (0.3, 1e-7)
    assert (config.compute.fp16, config.training.seed) == (False, 7)


def test_an_override_may_name_a_section_that_the_file_has_not(file: Path) -> None:
    assert load_config(file, DPOConfig, ["adapter.rank=4"]).adapter.rank == 4


def test_an_override_mends_an_error_of_the_file(file: Path) -> None:
    file.write_text(SPEC.replace("beta: 0.1", "beta: wrong"))
    assert load_config(file, DPOConfig, ["training.beta=0.2"]).training.beta == 0.2


def test_text_needs_no_quotes_in_an_override(file: Path) -> None:
    config = load_config(file, DPOConfig, ["logging.wandb_run_name=2024", "logging.output_dir=out: here"])
    assert (config.logging.wandb_run_name, config.logging.output_dir) == ("2024", "out: here")
    assert load_config(file, DPOConfig, ["logging.wandb_run_name="]).logging.wandb_run_name is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.beta", "write it as section.key=value"),
        ("=3", "write it as section.key=value"),
        ("training.betta=1", "unknown key; did you mean training.beta?"),
        ("beta=1", "unknown key; did you mean training.beta?"),
        ("training=3", "training is a section: name a key in it"),
        ("training.beta=-1", "training.beta: must be a number > 0 and ≤ 100, not -1"),
        ("training.beta=[", "not YAML"),
        ("nowhere.at.all=1", "unknown key"),
    ],
)
def test_a_wrong_override_is_named_in_its_line(file: Path, override: str, words: str) -> None:
    (line,) = refused(file, SPEC, (override,))
    assert line.startswith(f"--set {override}: " if "[" not in override else f"--set {override}:")
    assert words in line


def test_errors_of_file_and_override_come_together(file: Path) -> None:
    lines = refused(file, SPEC.replace("beta: 0.1", "beta: x"), ("training.max_steps=0", "no=1"))
    assert len(lines) == 3


# On this machine


def test_on_linux_the_file_for_eight_cuda_devices_runs_on_the_cpu_in_float32(file: Path) -> None:
    config = load_config(file, DPOConfig)
    planned = plan(config.compute, LINUX)
    assert (planned.device, planned.dtype, planned.gradient_checkpointing) == ("cpu", "float32", True)
    said = "\n".join(answers(config, LINUX))
    assert "compute.device: cuda: the CPU, because MLX has no GPU here" in said
    assert "compute.fp16: true: float32" in said
    assert "one device; an optimizer step sees 4 x 4 = 16 pairs (8 devices would see 128)" in said
    assert "compute.gradient_checkpointing: true" in said


@pytest.mark.parametrize(("here", "name"), [(MAC, "Metal"), (NVIDIA, "CUDA")])
def test_on_a_gpu_half_precision_is_bfloat16(file: Path, here: Platform, name: str) -> None:
    config = load_config(file, DPOConfig)
    assert (plan(config.compute, here).device, plan(config.compute, here).dtype) == ("gpu", "bfloat16")
    said = answers(config, here)
    assert name in said[0]
    assert "bfloat16" in said[1]
    assert plan(load_config(file, DPOConfig, ["compute.fp16=false"]).compute, here).dtype == "float32"
    assert plan(load_config(file, DPOConfig, ["compute.device=cpu"]).compute, here).device == "cpu"


def test_nothing_is_said_of_what_is_as_written(file: Path) -> None:
    config = load_config(
        file,
        DPOConfig,
        [
            "compute.fp16=false",
            "compute.num_devices=1",
            "compute.gradient_checkpointing=false",
            "training.learning_rate=2e-5",
            "logging.wandb_project=",
        ],
    )
    assert [sentence.split(":")[0] for sentence in answers(config, MAC)] == ["compute.device"]


def test_intervals_beyond_the_last_step_are_said(file: Path) -> None:
    config = load_config(file, DPOConfig, ["training.max_steps=40", "training.warmup_steps=4"])
    said = answers(config, MAC)
    assert any(s.startswith("training.eval_steps: 100: more than max_steps (40)") for s in said)
    assert any(s.startswith("training.save_steps: 100: more than max_steps (40)") for s in said)


def test_missing_files_are_named_and_hugging_face_ids_are_not(workspace: Workspace, file: Path) -> None:
    config = load_config(file, DPOConfig)
    found = [sentence.split(":")[0] for sentence in missing_files(config, workspace)]
    assert found == ["data.train_file", "data.validation_file", "model.reference_model", "model.policy_model"]
    (workspace.data / "preference_pairs_train.jsonl").write_text("")
    (workspace.checkpoints / "sft_baseline").mkdir()
    assert [s.split(":")[0] for s in missing_files(config, workspace)] == ["data.validation_file"]
    (workspace.data / "preference_pairs_val.jsonl").mkdir()
    assert missing_files(config, workspace) == [
        f"data.validation_file: data/preference_pairs_val.jsonl is no file in {workspace.root}"
    ]


def test_no_mlx_is_loaded() -> None:
    script = (
        "import sys, core.config, core.gates, core.data.quality\n"
        "print([name for name in ('mlx', 'mlx_lm', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_not_finite_is_never_a_setting(file: Path) -> None:
    for key in keys(DPOConfig):
        if key.allowed.startswith("a number"):
            with pytest.raises(UserError):
                load_config(file, DPOConfig, [f"{key.path}=.inf"])
            assert key.default is None or math.isfinite(key.default)
