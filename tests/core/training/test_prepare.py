"""Before the first step: what cannot be computed on this machine is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from core.errors import UserError
from core.models.load import LanguageModel
from core.training import prepare
from tests.core.models.architectures import build
from tests.core.training import tiny


class Silent:
    """As much of a run's context as loading needs."""

    def __init__(self, workspace: object) -> None:
        self.workspace = workspace
        self.run = type("Run", (), {"step": 0, "steps": 1})

    def progress(self, step: int, steps: int, phase: str) -> None:
        pass


@pytest.mark.skipif(mx.default_device() != mx.Device(mx.cpu), reason="a GPU multiplies experts in half precision")
@pytest.mark.parametrize("name", ["mixtral", "llama"])
def test_experts_in_half_precision_are_for_a_gpu(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, _ = tiny.workspace(tmp_path / "w")
    made = LanguageModel(build(name), None, {}, tmp_path)
    monkeypatch.setattr(prepare, "load", lambda path, dtype, trust_remote_code: made)
    config = tiny.sft_config(compute_dtype="bfloat16")
    context = Silent(space)
    assert prepare.load_for(context, "models/tiny", config, mx.float32) is made
    if name == "llama":
        assert prepare.load_for(context, "models/tiny", config, mx.bfloat16) is made
        return
    with pytest.raises(UserError, match=r"compute\.dtype: bfloat16: MLX multiplies the experts of models/tiny in"):
        prepare.load_for(context, "models/tiny", config, mx.bfloat16)
