"""`score` gives each pair's own log-probs, in the file's order, whatever batch it was computed in."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner

from core.errors import UserError
from core.models.load import load
from core.training.score import score
from dpotui.cli import cli
from tests.core.training import tiny


def naive(folder: Path, prompt: str, response: str) -> tuple[float, int]:
    loaded = load(folder)
    ids = [*loaded.tokenizer.encode(prompt + response), loaded.tokenizer.eos_token_id]
    # The space that ends the prompt melts into the first word of the response: that token is the response's.
    start = len(loaded.tokenizer.encode(prompt.rstrip()))
    assert ids[:start] == loaded.tokenizer.encode(prompt.rstrip())
    logits = np.array(loaded.model(mx.array([ids]))[0], np.float64)
    logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return sum(logps[i - 1, ids[i]] for i in range(start, len(ids))), len(ids) - start


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_scores_in_the_order_of_the_file(tmp_path: Path, batch_size: int) -> None:
    space, _ = tiny.workspace(tmp_path / "w", pairs=20)
    file, folder = space.data / "pairs_val.jsonl", space.root / "models" / "tiny"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    found = score(folder, None, file, batch_size=batch_size)
    assert len(found) == len(rows)
    for row, pair in zip(rows, found, strict=True):
        logp, tokens = naive(folder, row["prompt"], row["chosen"])
        assert pair.chosen_logp == pytest.approx(logp, abs=1e-4)
        assert pair.chosen_tokens == tokens
        logp, tokens = naive(folder, row["prompt"], row["rejected"])
        assert pair.rejected_logp == pytest.approx(logp, abs=1e-4)
        assert pair.rejected_tokens == tokens


def test_command_prints_the_shape_scripts_rely_on(tmp_path: Path) -> None:
    space, _ = tiny.workspace(tmp_path / "w", pairs=20)
    args = ["score", "--model", str(space.root / "models" / "tiny"), "--pairs", str(space.data / "pairs_val.jsonl")]
    result = CliRunner().invoke(cli, [*args, "--json"])
    pairs = json.loads(result.stdout)["pairs"]
    assert len(pairs) == 5
    assert set(pairs[0]) == {"chosen_logp", "rejected_logp", "chosen_tokens", "rejected_tokens"}


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    space, _ = tiny.workspace(tmp_path / "w", pairs=20)
    file = space.data / "bad.jsonl"
    file.write_text('{"prompt": "Say red. ", "chosen": "red", "rejected": "blue"}\n{"prompt": "Say"}\n')
    with pytest.raises(UserError, match=r"bad\.jsonl:2: "):
        score(space.root / "models" / "tiny", None, file, batch_size=4)
