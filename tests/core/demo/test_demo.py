"""The demo's model, data and configurations: complete, the same everywhere, true, and never overwriting."""

from __future__ import annotations

import hashlib
import json
import stat
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from core.config import DPOConfig, RewardConfig, SFTConfig, load_config
from core.data.manifest import manifest_path
from core.demo import data, is_demo, make_demo, zoo
from core.demo.model import CHAT_TEMPLATE, SPECIAL
from core.errors import UserError
from core.workspace import Workspace, create_workspace


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = create_workspace(tmp_path_factory.mktemp("demo") / "zoo")
    make_demo(made)
    return made


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _hashes(workspace: Workspace) -> dict[str, str]:
    return {
        path.relative_to(workspace.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in workspace.root.rglob("*")
        if path.is_file()
    }


def test_pairs_meet_the_counts_of_the_workflow_in_the_training_file_alone(demo: Workspace) -> None:
    train = _rows(demo.data / "preference_pairs_train.jsonl")
    validation = _rows(demo.data / "preference_pairs_val.jsonl")
    prompts = {row["prompt"] for row in train}
    assert len(train) >= 1000
    assert len(prompts) >= 1000
    assert len(validation) / (len(train) + len(validation)) == pytest.approx(0.2, abs=0.001)
    assert not prompts & {row["prompt"] for row in validation}


def test_scores_have_a_clear_mean_gap_and_real_spread(demo: Workspace) -> None:
    rows = _rows(demo.data / "preference_pairs_train.jsonl")
    gaps = [row["chosen_score"] - row["rejected_score"] for row in rows]
    assert all(0 <= row["rejected_score"] < row["chosen_score"] <= 1 for row in rows)
    assert statistics.mean(gaps) > 0.3
    assert statistics.stdev(gaps) > 0.15
    assert 0.02 < sum(gap < 0.15 for gap in gaps) / len(gaps) < 0.2


def test_responses_of_a_pair_differ(demo: Workspace) -> None:
    for row in _rows(demo.data / "preference_pairs_train.jsonl"):
        assert row["chosen"] != row["rejected"]


def test_sft_rows_are_split_90_to_10_without_a_shared_prompt(demo: Workspace) -> None:
    train, validation = _rows(demo.data / "sft_train.jsonl"), _rows(demo.data / "sft_val.jsonl")
    assert len(validation) / (len(train) + len(validation)) == pytest.approx(0.1, abs=0.001)
    asked = [{row["prompt"] for row in rows} for rows in (train, validation)]
    assert not asked[0] & asked[1]


def test_chosen_answers_are_true_and_wrong_ones_are_wrong() -> None:
    true = {
        zoo.answer(animal, topic, style, pick=0, other=animal)
        for animal in zoo.animals()
        for topic in zoo.TOPICS
        for style in ("plain", "curt")
    }
    false = 0
    rows = data.preference_rows(20)
    for row in rows:
        for sentence in row["chosen"].split(" And did you know? "):
            assert sentence in true
        rejected = row["rejected"]
        false += rejected.startswith(("Baby ", "A group ", "Most ")) and rejected not in true
    # Their share of the pairs, by the weights: were a stranger's fact also true of the animal, some would be missing.
    assert false / len(rows) == pytest.approx(0.22, abs=0.03)


def test_configurations_load_and_name_files_that_exist(demo: Workspace) -> None:
    sft = load_config(demo.configs / "sft_config.yaml", SFTConfig)
    reward = load_config(demo.configs / "reward_config.yaml", RewardConfig)
    dpo = load_config(demo.configs / "dpo_config.yaml", DPOConfig)
    assert reward.data.apply_chat_template
    assert reward.model.base_model == sft.model.checkpoint
    assert sft.data.apply_chat_template
    assert dpo.data.apply_chat_template
    assert sft.adapter.type == "full"
    assert dpo.adapter.type == "lora"
    assert sft.model.checkpoint == dpo.model.reference_model == dpo.model.policy_model
    for section in (sft.data, reward.data, dpo.data):
        assert demo.path(section.train_file).is_file()
        assert demo.path(section.validation_file).is_file()
    assert (demo.path(sft.model.base_model) / "model.safetensors").is_file()


def test_everything_is_private(demo: Workspace) -> None:
    for path in (demo.root, *demo.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_same_bytes_in_another_process(demo: Workspace, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from core.demo import make_demo; from core.workspace import "
        "create_workspace; make_demo(create_workspace(Path(sys.argv[1]))); assert 'mlx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "again")], check=True, env={"PYTHONHASHSEED": "7"})
    assert _hashes(Workspace(tmp_path / "again")) == _hashes(demo)


def test_making_it_again_keeps_what_a_person_changed(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "zoo")
    make_demo(workspace)
    assert is_demo(workspace)
    config = workspace.configs / "dpo_config.yaml"
    config.write_text(config.read_text().replace("beta: 0.05", "beta: 0.2"))
    (workspace.data / "sft_val.jsonl").unlink()
    before = _hashes(workspace)
    make_demo(workspace)
    after = _hashes(workspace)
    assert set(after) - set(before) == {"data/sft_val.jsonl"}
    assert {name: after[name] for name in before} == before


def test_an_edited_template_is_not_replaced(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "zoo")
    (workspace.configs / "sft_config.yaml").write_text("mine: true\n")
    make_demo(workspace)
    assert (workspace.configs / "sft_config.yaml").read_text() == "mine: true\n"


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "zoo")
    workspace.data.rmdir()
    workspace.data.write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        make_demo(workspace)


def test_mlx_lm_loads_the_model_and_its_template(demo: Workspace) -> None:
    from core.models.load import load

    loaded = load(demo.path("models/demo-base"))
    model, tokenizer = loaded.model, loaded.tokenizer
    assert tokenizer.eos_token_id == SPECIAL.index("<|end|>")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What do owls eat?"}], add_generation_prompt=True, tokenize=True
    )
    assert tokenizer.decode(ids) == "<|user|>What do owls eat?<|end|><|assistant|>"
    assert tokenizer.chat_template == CHAT_TEMPLATE
    text = "Ünïcode\n\t🦉 stays whole"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("Most geese live on a lake.")) <= 10
    assert model.args.num_hidden_layers == 2


def test_every_data_file_tells_its_origin(demo: Workspace) -> None:
    written = sorted(demo.data.rglob("*.jsonl"))
    assert [path.name for path in written if not manifest_path(path).is_file()] == []
    for path in written:
        told = json.loads(manifest_path(path).read_text())
        assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert told["made_by"]["command"] == "demo"
