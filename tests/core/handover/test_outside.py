"""What transformers and PEFT themselves make of an export: the same log-probs as ours.

They need torch, which this program does not and which is in no lock: run this file where it is, such as

    uv pip install --python VENV/bin/python torch peft
    VENV/bin/python -m pytest tests/core/handover/test_outside.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.jsonl import BadRow
from core.data.pairs import read_pairs
from core.data.tokenize import tokenize
from core.store import Database
from core.training.score import UNLIMITED, score
from core.workspace import Workspace
from tests.core.handover import made
from tests.core.training import tiny

torch = pytest.importorskip("torch", reason="torch is not installed: the header says how to run this")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
peft = pytest.importorskip("peft", reason="peft is not installed: the header says how to run this")

# Of each token, in nats: float32 in another order.
CLOSE = 1e-4


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Database]]:
    space, db = tiny.workspace(tmp_path_factory.mktemp("outside") / "w")
    yield space, db
    db.close()


def theirs(model: Any, tokenizer: Any, pairs: Path) -> np.ndarray:
    """Summed log-probs of both responses of each pair, by torch."""
    model = model.float().eval()
    found = []
    for row in read_pairs(pairs):
        assert not isinstance(row, BadRow)
        tokens = tokenize(tokenizer, row.prompt, (row.chosen, row.rejected), UNLIMITED)
        sums = []
        for response in tokens.responses:
            ids = torch.tensor([tokens.prompt + response])
            with torch.no_grad():
                logps = torch.log_softmax(model(ids).logits[0].float(), -1)
            start = len(tokens.prompt)
            sums.append(sum(float(logps[start + at - 1, token]) for at, token in enumerate(response)) / len(response))
        found.append(sums)
    return np.array(found)


def ours(model: Path, adapter: Path | None, pairs: Path) -> np.ndarray:
    return np.array(
        [
            [one.chosen_logp / one.chosen_tokens, one.rejected_logp / one.rejected_tokens]
            for one in score(model, adapter, pairs, batch_size=4)
        ]
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_layers": -1, "keys": ["self_attn.q_proj", "mlp.down_proj"]},
        {"type": "dora"},
        {"type": "dora", "num_layers": -1, "keys": ["self_attn.v_proj", "mlp.gate_proj"], "scale": 1.7},
    ],
    ids=["lora", "lora of some layers", "dora", "dora of some layers"],
)
def test_log_probs(scene: tuple[Workspace, Database], settings: dict[str, Any], request: pytest.FixtureRequest) -> None:
    space, db = scene
    name = f"outputs/{request.node.callspec.id.replace(' ', '-')}"
    adapter = made.adapter(space, name, **settings)
    folder = space.path(str(made.export(space, db, name, peft=True).output_dir))
    pairs, base = space.data / "pairs_val.jsonl", space.path("models/tiny")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    own = ours(base, adapter, pairs)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    assert np.abs(theirs(plain, tokenizer, pairs) - own).max() > 0.01, "the adapter does nothing"
    merged = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert np.abs(theirs(merged, tokenizer, pairs) - own).max() < CLOSE
    adapted = peft.PeftModel.from_pretrained(plain, folder / "peft")
    assert np.abs(theirs(adapted, tokenizer, pairs) - own).max() < CLOSE
    assert np.abs(theirs(adapted.merge_and_unload(), tokenizer, pairs) - own).max() < CLOSE
