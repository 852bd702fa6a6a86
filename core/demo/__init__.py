"""The demo: a small model, a small world it can learn, and configurations, all made on the spot from a seed."""

from __future__ import annotations

from pathlib import Path

from core.data.manifest import writing
from core.demo import data
from core.demo.model import write_model
from core.demo.quiz import choice_rows, fact_rows, quiz_rows
from core.errors import UserError
from core.workspace import Workspace, templates, write_private

SEED = 20
MODEL = "models/demo-base"
_CONFIGS = tuple(
    f"{kind}_config.yaml" for kind in ("sft", "generate", "judge", "reward", "dpo", "eval", "sweep", "iterate")
)
# Shares of the checklists: 90/10 for SFT, 80/20 for preferences.
_SFT_VALIDATION, _PAIRS_VALIDATION = 0.1, 0.2
_PROMPTS = 64


def is_demo(workspace: Workspace) -> bool:
    return (workspace.path(MODEL) / "config.json").is_file()


def make_demo(workspace: Workspace) -> None:
    """Put the demo's model, data and configurations into a workspace that was just created.

    The same files on every machine. Files that stand there already are kept, so an interrupted making goes on and a
    changed demo stays changed; a configuration that is still the untouched template becomes the demo's.

    Raises:
        UserError: a file of the demo cannot be written.
    """
    sft, pairs = data.sft_rows(SEED), data.preference_rows(SEED)
    sft_train, sft_validation = data.split(sft, _SFT_VALIDATION)
    pairs_train, pairs_validation = data.split(pairs, _PAIRS_VALIDATION)
    try:
        for name, rows in (
            ("sft_train.jsonl", sft_train),
            ("sft_val.jsonl", sft_validation),
            ("preference_pairs_train.jsonl", pairs_train),
            ("preference_pairs_val.jsonl", pairs_validation),
            ("prompts.jsonl", data.prompt_rows(SEED, _PROMPTS)),
            ("preference_pairs_test.jsonl", data.test_rows(SEED)),
            ("benchmarks/zoo_facts.jsonl", fact_rows(SEED)),
            ("benchmarks/zoo_choices.jsonl", choice_rows(SEED)),
            ("benchmarks/zoo_sums.jsonl", quiz_rows(SEED)),
        ):
            path = workspace.data / name
            if not path.exists():
                with writing(path, command="demo", parameters={"seed": SEED}) as file:
                    for row in rows:
                        file.row(row)
        for name in _CONFIGS:
            _write_config(workspace.configs / name, name)
        if not is_demo(workspace):
            folder = workspace.path(MODEL)
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            write_model(folder, [text for row in sft for text in row.values()], SEED)
    except OSError as error:
        raise UserError(
            f"the demo cannot be written to {workspace.root} ({error.strerror}): name another folder"
        ) from error


def _write_config(path: Path, name: str) -> None:
    template = templates() / name
    if path.exists() and template.exists() and path.read_bytes() != template.read_bytes():
        return
    write_private(path, (Path(__file__).parent / name).read_text("utf-8"))
