"""Our own driver on a tiny model: it runs the product, and what it says of the run is true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import models
from tests.benchmarks.figures import figures
from tests.benchmarks.pairs import Lengths, cut_to, generated_texts, tokenizer_of, write
from tests.benchmarks.peers import ours, process
from tests.benchmarks.peers.process import digest
from tests.benchmarks.runner import differences
from tests.benchmarks.specs import TRAINING


def test_a_run_of_the_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SIDE", 64)
    model = models.generate(tmp_path / "m", seed=3, vocab_size=64, hidden_size=16, intermediate_size=16,
                            num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1, head_dim=8)  # fmt: skip
    lengths = Lengths(4, 12)
    cut = cut_to(tokenizer_of(model), generated_texts(63, 8, 16, seed=3), lengths, 6)
    train, _ = write(tmp_path, "train", cut[2:])
    held_out, _ = write(tmp_path, "held-out", cut[:2])
    spec = {
        **TRAINING, "num_layers": 2, "model": str(model), "train_file": str(train), "validation_file": str(held_out),
        "prompt_tokens": 4, "response_tokens": 12, "batch_size": 2, "pairs": 4, "epochs": 3, "device": "cpu",
        "evaluate": True, "settings": {}, "work": str(tmp_path),
    }  # fmt: skip
    result = json.loads(json.dumps(ours.run(spec)))
    assert len(result["steps"]) == 6
    layers = [f"{block}.{name}" for block in (1, 2) for name in (
        "mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj", "self_attn.o_proj", "self_attn.q_proj",
        "self_attn.v_proj",
    )]  # fmt: skip
    assert differences(result, digest((tokens.prompt, *tokens.responses) for _, tokens in cut[2:]), layers) == ""
    assert result["loss"] == pytest.approx(0.69, abs=0.02)
    # Before the first step and after the last.
    assert len(result["away"]) == 2
    assert result["began"] <= result["away"][0][0] < result["away"][0][1] < result["steps"][0]["at"]
    assert result["away"][1][0] >= result["steps"][-1]["at"]
    found = figures({**result, "started": result["began"]}, 4, 2, fill_known=False)
    assert found.first > 0 and found.later > 0
    assert found.above_weights is not None and found.above_weights > 0
