"""Every key has help, and no help is of a key that is not there."""

from __future__ import annotations

import pytest

from core.config import RUN_CONFIGS, keys
from core.config.form import rows
from core.config.practice import PRACTICE, practice


@pytest.mark.parametrize("kind", RUN_CONFIGS)
def test_every_key_says_what_it_does_in_practice(kind: str) -> None:
    lacking = [key.path for key in keys(RUN_CONFIGS[kind]) if not practice(kind, key.path)]
    assert lacking == []


def test_no_help_is_orphaned() -> None:
    there = {f"{kind}:{key.path}" for kind, model in RUN_CONFIGS.items() for key in keys(model)}
    # A section that may be left out has help as a whole.
    there |= {f"{kind}:{row.help}" for kind, model in RUN_CONFIGS.items() for row in rows(model, {}) if row.field}
    plain = {name.partition(":")[2] for name in there}
    assert [name for name in PRACTICE if name not in (there if ":" in name else plain)] == []


@pytest.mark.parametrize("path", PRACTICE)
def test_it_is_short_and_a_sentence(path: str) -> None:
    text = PRACTICE[path]
    assert text.endswith(".")
    assert 20 <= len(text) <= 330
    assert "  " not in text


def test_help_of_a_kind_goes_before_that_of_all() -> None:
    assert practice("dpo", "training.learning_rate") != practice("sft", "training.learning_rate")
    assert practice("eval", "alignment_evaluation.preference_validation.judge.ask") == practice(
        "judge", "judges.NAME.ask"
    )
