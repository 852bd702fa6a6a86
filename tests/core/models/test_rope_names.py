"""A model that transformers 5 saved is computed with the RoPE that its configuration says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.models.load import load
from core.models.rope_names import older_names
from tests.core.models.folders import IDS, write_folder

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "added"),
    [
        ({}, {}),
        ({"rope_theta": 5e5}, {}),
        ({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, {"rope_theta": 5e5, "rotary_emb_base": 5e5}),
        # What stands there under the older name stays.
        ({"rope_theta": 1.0, "rope_parameters": {"rope_theta": 5e5}}, {"rotary_emb_base": 5e5}),
        (
            {"rope_parameters": {"rope_theta": 2.0, **LLAMA3}},
            {"rope_theta": 2.0, "rotary_emb_base": 2.0, "rope_scaling": LLAMA3},
        ),
        (
            {"rope_parameters": {"rope_theta": 2.0, "partial_rotary_factor": 0.25}},
            {"rope_theta": 2.0, "rotary_emb_base": 2.0, "partial_rotary_factor": 0.25, "rotary_pct": 0.25},
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}},
            {"rope_theta": 1e6, "rotary_emb_base": 1e6, "rope_local_base_freq": 1e4},
        ),
        (
            {"text_config": {"a": 1, "rope_parameters": {"rope_theta": 3.0}}},
            {
                "text_config": {
                    "a": 1,
                    "rope_parameters": {"rope_theta": 3.0},
                    "rope_theta": 3.0,
                    "rotary_emb_base": 3.0,
                }
            },
        ),
        # A stranger's file.
        ({"rope_parameters": None}, {}),
        ({"rope_parameters": []}, {}),
        ({"rope_parameters": {}}, {}),
        ({"rope_parameters": {"full_attention": 3}}, {}),
        ({"text_config": 3}, {}),
    ],
)
def test_older_names(config: dict[str, Any], added: dict[str, Any]) -> None:
    assert older_names(config) == added


@pytest.mark.parametrize("scaling", [{}, LLAMA3])
def test_both_ways_of_writing_give_the_same_model(tmp_path: Path, scaling: dict[str, Any]) -> None:
    older = write_folder(tmp_path / "older", rope_theta=50.0, **({"rope_scaling": scaling} if scaling else {}))
    newer = write_folder(tmp_path / "newer")
    config = json.loads((newer / "config.json").read_text())
    del config["rope_theta"]
    config["rope_parameters"] = {"rope_theta": 50.0, "rope_type": "default", **scaling}
    (newer / "config.json").write_text(json.dumps(config))
    default = write_folder(tmp_path / "default")
    first, second, third = (np.array(load(folder).model(IDS)) for folder in (older, newer, default))
    assert np.array_equal(first, second)
    assert not np.allclose(first, third, atol=1e-2)
