"""`training.batch_size`: a number of pairs, or `auto`, which stays `auto` until a number was found for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import CONFIGS, answers, keys, load_config
from core.config.machine import Platform
from core.config.models import AUTO
from core.errors import UserError
from core.workspace import templates

FILES = {name: templates() / f"{name}_config.yaml" for name in CONFIGS}


@pytest.mark.parametrize("name", CONFIGS)
def test_auto_survives_the_snapshot_of_a_run(name: str) -> None:
    config = load_config(FILES[name], CONFIGS[name], ["training.batch_size=auto"])
    assert config.training.batch_size == AUTO
    snapshot = config.model_dump(mode="json")
    assert snapshot["training"]["batch_size"] == "auto"
    assert CONFIGS[name].model_validate(snapshot) == config


@pytest.mark.parametrize(("given", "size"), [("1", 1), ("65536", 65536), ("8.0", 8), ("1e1", 10)])
def test_a_number_is_one(given: str, size: int) -> None:
    config = load_config(FILES["dpo"], CONFIGS["dpo"], [f"training.batch_size={given}"])
    assert config.training.batch_size == size
    assert config.model_dump(mode="json")["training"]["batch_size"] == size


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "65537", "many", "true", "null", "[4]"])
def test_anything_else_is_refused_with_what_is_allowed(given: str) -> None:
    with pytest.raises(UserError, match="must be a whole number from 1 to 65536, or auto, not "):
        load_config(FILES["dpo"], CONFIGS["dpo"], [f"training.batch_size={given}"])


def test_the_help_says_auto() -> None:
    (key,) = [key for key in keys(CONFIGS["dpo"]) if key.path == "training.batch_size"]
    assert "auto" in key.allowed
    assert "auto" in key.meaning


def test_auto_is_said_before_a_run(tmp_path: Path) -> None:
    for devices in ("1", "8"):
        overrides = ["training.batch_size=auto", f"compute.num_devices={devices}"]
        said = answers(load_config(FILES["dpo"], CONFIGS["dpo"], overrides), Platform("macos", "metal"))
        assert any(sentence.startswith("training.batch_size: auto: ") for sentence in said)
        assert not any(" 0 " in sentence for sentence in said)
